-- An interval join over an as-of join.
SELECT q.id, q.y, c.id AS other FROM (
    SELECT a.warehouse, a.id, a.ts, b.y FROM a ASOF LEFT JOIN b
        ON a.warehouse = b.warehouse AND a.k = b.k AND a.ts >= b.at_ts AND b.at_ts >= a.ts - INTERVAL '3 seconds'
) AS q LEFT JOIN a AS c ON q.warehouse = c.warehouse AND c.n > 6
    AND c.ts BETWEEN q.ts - INTERVAL '1 second' AND q.ts + INTERVAL '1 second';

-- expect
--   rows     5615
--   columns  id Utf8, y Float64, other Utf8
--   digest   105d1b96b734c1b6
