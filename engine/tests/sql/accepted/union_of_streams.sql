-- Two streams as one; the branch ends the canonical order.
SELECT warehouse, slot.end AS ends, c, s, f FROM (
    SELECT warehouse, tumble(INTERVAL '2 seconds') AS slot, count(*) AS c, sum(z) AS s, first_value(z ORDER BY t) AS f FROM (
        SELECT warehouse, ts AS t, x AS z FROM a UNION ALL SELECT warehouse, at_ts AS t, y AS z FROM b
    ) AS u GROUP BY warehouse, tumble(INTERVAL '2 seconds')
) AS q;

-- expect
--   rows     3335
--   columns  warehouse Utf8, ends Timestamp(µs), c Int64, s Float64, f Float64
--   digest   f404d7b5183b868d
