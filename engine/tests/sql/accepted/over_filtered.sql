-- FILTER in OVER, and a difference from the row before.
SELECT id, count(*) FILTER (WHERE n > 4) OVER w AS many, max(x) FILTER (WHERE n <= 4) OVER w AS top, x - lag(x) OVER w AS step FROM a
WINDOW w AS (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '6 seconds' PRECEDING AND CURRENT ROW);

-- expect
--   rows     4639
--   columns  id Utf8, many Int64, top Float64, step Float64
--   digest   31dc1ae1f76bfd74
