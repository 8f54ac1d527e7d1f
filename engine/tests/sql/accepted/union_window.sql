-- A window over two branches of one stream.
SELECT k, slot.end, c, s FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, sum(z) AS s FROM (
    SELECT k, ts, x AS z FROM a WHERE x > 3 UNION ALL SELECT k, ts, x * 2 AS z FROM a WHERE n > 3) AS u
    GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;

-- expect
--   rows     1274
--   columns  k Utf8, q.slot[end] Timestamp(µs), c Int64, s Float64
--   digest   38d10cb8ebdf16cc
