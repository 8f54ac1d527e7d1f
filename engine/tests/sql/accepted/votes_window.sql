-- A window over an append-only group over a left join.
SELECT warehouse, slot.end, c, m FROM (SELECT warehouse, tumble(INTERVAL '5 seconds') AS slot, sum(votes) AS c, max(best) AS m
    FROM votes GROUP BY warehouse, tumble(INTERVAL '5 seconds')) AS q;

-- expect
--   rows     1046
--   columns  warehouse Utf8, q.slot[end] Timestamp(µs), c Int64, m Float64
--   digest   6953323812cffbd1
