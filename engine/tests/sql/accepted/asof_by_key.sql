-- An as-of join whose key does not hold the partition key.
SELECT a.id, b.y FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.at_ts
    AND b.at_ts >= a.ts - INTERVAL '2 seconds';

-- expect
--   rows     4639
--   columns  id Utf8, y Float64
--   digest   639b85774ea236fa
