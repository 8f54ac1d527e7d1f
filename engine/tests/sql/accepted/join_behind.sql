-- An interval that ends before the left row: both bounds negative.
SELECT a.id, b.y, b.at_ts FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '5 seconds' AND a.ts - INTERVAL '1 second';

-- expect
--   rows     5501
--   columns  id Utf8, y Float64, at_ts Timestamp(µs)
--   digest   2e065b331f61fcbb
