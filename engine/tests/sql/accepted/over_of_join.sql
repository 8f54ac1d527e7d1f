-- OVER over the pairs of a join.
SELECT id, y, sum(y) OVER w AS total, lag(y) OVER w AS y_before FROM (
    SELECT a.warehouse, a.id, a.ts, b.y FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
        AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second'
) AS q
WINDOW w AS (PARTITION BY warehouse ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW);

-- expect
--   rows     1108
--   columns  id Utf8, y Float64, total Float64, y_before Float64
--   digest   9b04b2603c349e81
