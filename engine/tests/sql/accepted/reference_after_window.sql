-- A window meets the version that held at its end minus 1 µs.
SELECT w.k, w.slot.end AS ends, w.c, r.v FROM (
    SELECT k, tumble(INTERVAL '3 seconds') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '3 seconds')
) AS w LEFT JOIN r ON w.k = r.k;

-- expect
--   rows     1818
--   columns  k Utf8, ends Timestamp(µs), c Int64, v Float64
--   digest   83a125933dec1e54
