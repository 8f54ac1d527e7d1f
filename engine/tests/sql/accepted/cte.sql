-- A CTE that is read twice.
WITH few AS (SELECT warehouse, k, id, n, ts FROM a WHERE n < 4 AND k IS NOT NULL)

SELECT p.id, q.id AS other, p.n - q.n AS step FROM few AS p JOIN few AS q ON p.warehouse = q.warehouse AND p.k = q.k
    AND q.ts > p.ts AND q.ts <= p.ts + INTERVAL '2 seconds';

-- expect
--   rows     497
--   columns  id Utf8, other Utf8, step Int64
--   digest   22016649822d3206
