-- A window with no other key.
SELECT slot.start, slot.end, c, v, d FROM (SELECT tumble(INTERVAL '3 seconds') AS slot, count(*) AS c,
    var_pop(x) AS v, stddev(x) AS d FROM a GROUP BY tumble(INTERVAL '3 seconds')) AS q;

-- expect
--   rows     541
--   columns  q.slot[start] Timestamp(µs), q.slot[end] Timestamp(µs), c Int64, v Float64, d Float64
--   digest   62711b1f2fbddf97
