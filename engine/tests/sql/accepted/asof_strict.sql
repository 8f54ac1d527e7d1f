-- The last row that is earlier, not equal.
SELECT a.id, b.y, b.at_ts FROM a ASOF JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND a.ts > b.at_ts AND b.at_ts >= a.ts - INTERVAL '4 seconds';

-- expect
--   rows     1155
--   columns  id Utf8, y Float64, at_ts Timestamp(µs)
--   digest   8c58170013aa2bf7
