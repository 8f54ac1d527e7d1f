-- An inner interval join; both times stay event time.
SELECT a.id, a.n, b.y, a.ts, b.at_ts FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '2 seconds';

-- expect
--   rows     1563
--   columns  id Utf8, n Int64, y Float64, ts Timestamp(µs), at_ts Timestamp(µs)
--   digest   c3f8a1c843add837
