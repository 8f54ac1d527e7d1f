-- The right side of an inner join keeps its event time too: a group by it is final in its turn.
SELECT u, count(*) AS pairs, max(n) AS most FROM (
    SELECT b.at_ts AS u, a.n FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
        AND b.at_ts BETWEEN a.ts - INTERVAL '10 seconds' AND a.ts + INTERVAL '10 seconds'
) AS q GROUP BY u;

-- expect
--   rows     1731
--   columns  u Timestamp(µs), pairs Int64, most Int64
--   digest   2b2b9926afdbdd61
