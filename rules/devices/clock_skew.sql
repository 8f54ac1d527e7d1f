-- The clock of a station's agent is off by half a second or more; or nobody sets it and nobody
-- knows how far it is off. Off by a second, the lateness of scans, it would make its rows late.

CREATE RULE clock_skew
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '20 seconds', clear_after = '30 seconds', owner = 'devices',
    explain = 'the clock of {device} is {reason}: {quantity} {quantity_unit}'
) AS
SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    clock_synced,
    CASE
        WHEN clock_offset_ms IS NULL THEN NOT clock_synced
        ELSE abs(clock_offset_ms) >= 500
    END AS fire,
    CASE
        WHEN clock_offset_ms IS NULL THEN clock_synced
        ELSE abs(clock_offset_ms) < 250
    END AS clear,
    CASE WHEN abs(clock_offset_ms) >= 5000 THEN 'high' ELSE 'medium' END AS severity,
    'set_clock' AS recommendation,
    CASE
        WHEN clock_offset_ms >= 500 THEN 'ahead'
        WHEN clock_offset_ms <= -500 THEN 'behind'
        WHEN clock_offset_ms IS NULL AND NOT clock_synced THEN 'unsynced'
    END AS reason,
    clock_offset_ms AS quantity,
    'ms' AS quantity_unit
FROM device_health
WHERE kind = 'agent';
