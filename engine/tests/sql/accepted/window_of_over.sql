-- A window over the rows of OVER.
SELECT k, slot.end, m, c FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, max(x_avg) AS m, sum(rows_in) AS c
    FROM moving GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;

-- expect
--   rows     1346
--   columns  k Utf8, q.slot[end] Timestamp(µs), m Float64, c Int64
--   digest   9c15ca681b2308ec
