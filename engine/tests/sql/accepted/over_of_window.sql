-- OVER over the rows of a window.
SELECT k, at, c, lag(c, 1, 0) OVER w, avg(s) OVER w FROM (
    SELECT k, slot.end AS at, c, s FROM (SELECT k, tumble(INTERVAL '2 seconds') AS slot, count(*) AS c, sum(x) AS s
    FROM a GROUP BY k, tumble(INTERVAL '2 seconds')) AS q) AS r
WINDOW w AS (PARTITION BY k ORDER BY at RANGE BETWEEN INTERVAL '12 seconds' PRECEDING AND CURRENT ROW);

-- expect
--   rows     2257
--   columns  k Utf8, at Timestamp(µs), c Int64, lag(r.c,Int64(1),Int64(0)) PARTITION BY [r.k] ORDER BY [r.at ASC NULLS LAST] RANGE BETWEEN 12 seconds PRECEDING AND CURRENT ROW Int64, avg(r.s) PARTITION BY [r.k] ORDER BY [r.at ASC NULLS LAST] RANGE BETWEEN 12 seconds PRECEDING AND CURRENT ROW Float64
--   digest   3986ce0d369dea5a
