-- A condition by thresholds of a reference table, as of the row.
CREATE RULE by_reference WITH (kind = 'condition', key = 'k', fire_after = '1 second', clear_after = '2 seconds') AS
SELECT a.warehouse, a.k, a.ts AS event_time, a.x > r.v AS fire, a.x < r.v / 2.0 AS clear, r.g AS recommendation,
    CASE WHEN a.n > 6 THEN 'high' ELSE 'low' END AS severity, a.x - r.v AS quantity, 'items' AS quantity_unit
FROM a JOIN r ON a.k = r.k;

-- expect
--   rows     3456
--   columns  warehouse Utf8, k Utf8, event_time Timestamp(µs), fire Boolean, clear Boolean, recommendation Utf8, severity Utf8, quantity Float64, quantity_unit Utf8
--   digest   0795937c5c165cba
