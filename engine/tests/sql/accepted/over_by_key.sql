-- OVER by a key that does not hold the partition key.
SELECT id, sum(x) OVER w, stddev(x) OVER w, min(x) OVER w, count(x) OVER w FROM a
WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '4 seconds' PRECEDING AND CURRENT ROW);

-- expect
--   rows     4639
--   columns  id Utf8, sum(a.x) PARTITION BY [a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 4 seconds PRECEDING AND CURRENT ROW Float64, stddev(a.x) PARTITION BY [a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 4 seconds PRECEDING AND CURRENT ROW Float64, min(a.x) PARTITION BY [a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 4 seconds PRECEDING AND CURRENT ROW Float64, count(a.x) PARTITION BY [a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 4 seconds PRECEDING AND CURRENT ROW Int64
--   digest   379f276b5144d7e3
