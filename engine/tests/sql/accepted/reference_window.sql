-- Windows by a column of a reference table.
SELECT g, slot.end, c, v FROM (SELECT r.g AS g, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, sum(r.v * a.x) AS v
    FROM a JOIN r ON a.k = r.k GROUP BY r.g, tumble(INTERVAL '5 seconds')) AS q;

-- expect
--   rows     610
--   columns  g Utf8, q.slot[end] Timestamp(µs), c Int64, v Float64
--   digest   9bba2512365b93f6
