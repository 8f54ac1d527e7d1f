-- Bounds written from the right side.
SELECT a.id, b.y FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND a.ts >= b.at_ts + INTERVAL '1 second' AND a.ts - INTERVAL '4 seconds' < b.at_ts;

-- expect
--   rows     1458
--   columns  id Utf8, y Float64
--   digest   9ac6c4644d4d6075
