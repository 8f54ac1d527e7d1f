-- A condition over windows whose key goes behind an exchange, with silence.
CREATE RULE of_windows WITH (kind = 'condition', key = 'k', severity = 'medium', fire_after = '2 seconds', no_data = '8 seconds') AS
SELECT min_w AS warehouse, k, ends AS event_time, c > 2 AS fire, total AS quantity, 'items' AS quantity_unit FROM (
    SELECT k, slot.end - INTERVAL '1 microsecond' AS ends, min_w, c, total FROM (
        SELECT k, hop(INTERVAL '1 second', INTERVAL '3 seconds') AS slot, min(warehouse) AS min_w, count(*) AS c, sum(n) AS total
        FROM a GROUP BY k, hop(INTERVAL '1 second', INTERVAL '3 seconds')
    ) AS g
) AS q;

-- expect
--   rows     5455
--   columns  warehouse Utf8, k Utf8, event_time Timestamp(µs), fire Boolean, quantity Int64, quantity_unit Utf8
--   digest   5816282710bc5c4d
