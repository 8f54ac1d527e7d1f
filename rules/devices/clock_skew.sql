-- The clock of a station's agent is off by half a second or more; or nobody sets it and nobody
-- knows how far it is off. Off by a second, the lateness of scans, it would make its rows late.
-- It sees what comes in time: `high` holds from 5 s to 5 minutes ahead, and of clocks that are
-- behind only where nobody else writes to the partition. Rows further behind than 5 s, the lateness
-- of device_health, lie in device_health.late, rows further ahead than `max_ahead` (5 minutes) in
-- device_health.rejected; then device_silent speaks.

CREATE RULE clock_skew
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '20 seconds', clear_after = '30 seconds', owner = 'devices',
    explain = 'the clock of {device} is {state}, {how_far}'
) AS
WITH judged AS (
    SELECT
        *,
        CASE
            WHEN clock_offset_ms IS NULL THEN clock_synced
            ELSE abs(clock_offset_ms) < 250
        END AS is_well,
        CASE
            WHEN clock_offset_ms >= 500 THEN 'ahead'
            WHEN clock_offset_ms <= -500 THEN 'behind'
            WHEN clock_offset_ms IS NULL AND NOT clock_synced THEN 'unsynced'
        END AS fault
    FROM device_health
    WHERE kind = 'agent'
)

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
    is_well AS clear,
    CASE WHEN abs(clock_offset_ms) >= 5000 THEN 'high' ELSE 'medium' END AS severity,
    'set_clock' AS recommendation,
    fault AS reason,
    coalesce(fault, CASE WHEN is_well THEN 'well' ELSE 'not well yet' END) AS state,
    coalesce(abs(clock_offset_ms) || ' ms off', 'nobody knows how far off') AS how_far,
    clock_offset_ms AS quantity,
    'ms' AS quantity_unit
FROM judged;
