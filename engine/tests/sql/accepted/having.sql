-- HAVING behind WHERE.
SELECT k, slot.end, c FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a
    WHERE x IS NOT NULL GROUP BY k, tumble(INTERVAL '5 seconds') HAVING count(*) > 3) AS q;

-- expect
--   rows     455
--   columns  k Utf8, q.slot[end] Timestamp(µs), c Int64
--   digest   bfd1504cd03f90ff
