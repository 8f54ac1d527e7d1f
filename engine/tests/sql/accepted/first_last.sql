-- Values that follow the order of rows, with ties.
SELECT k, slot.end, f, l, g FROM (SELECT k, tumble(INTERVAL '4 seconds') AS slot, first_value(x ORDER BY n) AS f,
    last_value(x ORDER BY ts) AS l, first_value(n ORDER BY x DESC) AS g FROM a GROUP BY k, tumble(INTERVAL '4 seconds')) AS q;

-- expect
--   rows     1527
--   columns  k Utf8, q.slot[end] Timestamp(µs), f Float64, l Float64, g Int64
--   digest   c6832892cb4576dc
