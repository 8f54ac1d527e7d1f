-- The oldest record that an agent could not send yet is half a minute old: its station is told
-- late. From ten minutes on it is serious: no table knows the ids of older records any more.

CREATE RULE device_behind
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '20 seconds', clear_after = '30 seconds', owner = 'devices',
    explain = '{device} is {quantity:.0} s behind, {spool_records} records wait'
) AS
SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    spool_records,
    coalesce(spool_oldest_s, 0.0) >= 30.0 AS fire,
    coalesce(spool_oldest_s, 0.0) < 10.0 AS clear,
    CASE WHEN spool_oldest_s >= 600.0 THEN 'high' ELSE 'medium' END AS severity,
    'check_link' AS recommendation,
    CASE
        WHEN spool_oldest_s >= 600.0 THEN 'far_behind'
        WHEN spool_oldest_s >= 30.0 THEN 'behind'
    END AS reason,
    coalesce(spool_oldest_s, 0.0) AS quantity,
    's' AS quantity_unit
FROM device_health
WHERE kind = 'agent';
