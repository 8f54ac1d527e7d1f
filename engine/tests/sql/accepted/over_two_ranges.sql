-- Two ranges over the same rows.
SELECT id, avg(x) OVER (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW),
    sum(n) OVER (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND CURRENT ROW) FROM a;

-- expect
--   rows     4639
--   columns  id Utf8, avg(a.x) PARTITION BY [a.warehouse, a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 2 seconds PRECEDING AND CURRENT ROW Float64, sum(a.n) PARTITION BY [a.warehouse, a.k] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 20 seconds PRECEDING AND CURRENT ROW Int64
--   digest   b795d079218f371d
