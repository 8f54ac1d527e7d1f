-- A stream joined with itself.
SELECT p.id, q.id AS other FROM a AS p JOIN a AS q ON p.warehouse = q.warehouse AND p.k = q.k AND p.n = q.n
    AND q.ts BETWEEN p.ts AND p.ts + INTERVAL '4 seconds';

-- expect
--   rows     4922
--   columns  id Utf8, other Utf8
--   digest   58d89edfe7b416a9
