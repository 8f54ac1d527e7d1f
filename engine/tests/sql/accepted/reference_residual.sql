-- A left join to a reference table with a further condition.
SELECT a.id, r.v, r.g FROM a LEFT JOIN r ON a.k = r.k AND r.v > a.n;

-- expect
--   rows     4639
--   columns  id Utf8, v Float64, g Utf8
--   digest   d0c932cf12e12245
