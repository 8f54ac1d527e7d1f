-- Windows of windows.
SELECT warehouse, slot.end, m, s FROM (SELECT warehouse, tumble(INTERVAL '10 seconds') AS slot, max(c) AS m, sum(s) AS s
    FROM (SELECT warehouse, k, tumble(INTERVAL '2 seconds') AS small, count(*) AS c, sum(x) AS s FROM a
    GROUP BY warehouse, k, tumble(INTERVAL '2 seconds')) AS inner_q
    GROUP BY warehouse, tumble(INTERVAL '10 seconds')) AS q;

-- expect
--   rows     681
--   columns  warehouse Utf8, q.slot[end] Timestamp(µs), m Int64, s Float64
--   digest   c9dc7db84120e10b
