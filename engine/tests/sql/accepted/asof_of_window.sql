-- The last window that ended before a row.
SELECT a.id, w.c FROM a ASOF LEFT JOIN (
    SELECT warehouse, slot.end AS at, c FROM (
        SELECT warehouse, tumble(INTERVAL '2 seconds') AS slot, count(*) AS c FROM a GROUP BY warehouse, tumble(INTERVAL '2 seconds')
    ) AS g
) AS w ON a.warehouse = w.warehouse AND a.ts >= w.at AND w.at >= a.ts - INTERVAL '7 seconds';

-- expect
--   rows     4639
--   columns  id Utf8, c Int64
--   digest   2f94990c9c71e62b
