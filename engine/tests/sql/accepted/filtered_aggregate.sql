-- FILTER and DISTINCT in a window whose slide does not divide its size.
SELECT k, slot.end, c, s, d FROM (SELECT k, hop(INTERVAL '3 seconds', INTERVAL '8 seconds') AS slot,
    count(*) FILTER (WHERE n > 3) AS c, sum(x) FILTER (WHERE n % 2 = 0) AS s, count(DISTINCT k) AS d
    FROM a GROUP BY hop(INTERVAL '3 seconds', INTERVAL '8 seconds'), k) AS q;

-- expect
--   rows     2646
--   columns  k Utf8, q.slot[end] Timestamp(µs), c Int64, s Float64, d Int64
--   digest   915d45b2a0491c44
