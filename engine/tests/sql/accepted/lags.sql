-- LAG by one, two and three rows, no further back than its frame.
SELECT id, lag(x) OVER w, lag(n, 2, 99) OVER w, lag(ts) OVER w, lag(id, 3, 'none') OVER w FROM a
WINDOW w AS (PARTITION BY warehouse ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW);

-- expect
--   rows     4639
--   columns  id Utf8, lag(a.x) PARTITION BY [a.warehouse] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 3 seconds PRECEDING AND CURRENT ROW Float64, lag(a.n,Int64(2),Int64(99)) PARTITION BY [a.warehouse] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 3 seconds PRECEDING AND CURRENT ROW Int64, lag(a.ts) PARTITION BY [a.warehouse] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 3 seconds PRECEDING AND CURRENT ROW Timestamp(µs), lag(a.id,Int64(3),Utf8("none")) PARTITION BY [a.warehouse] ORDER BY [a.ts ASC NULLS LAST] RANGE BETWEEN 3 seconds PRECEDING AND CURRENT ROW Utf8
--   digest   b7a6a09dc290a464
