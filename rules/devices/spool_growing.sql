-- An agent's spool fills: a hundred records wait, and each minute thirty more come than leave. Or
-- records were given up within the last minute; or the disk refuses, and they wait in memory only.

CREATE RULE spool_growing
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '20 seconds', clear_after = '1 minute', owner = 'devices',
    explain = 'the spool of {device} is {reason}: {spool_records} records wait'
) AS
WITH trend AS (
    SELECT
        warehouse,
        station,
        device,
        sent_at,
        spool_records,
        coalesce(spool_in_memory, FALSE) AS in_memory,
        regr_slope(spool_records, extract(EPOCH FROM sent_at) / 60.0) OVER (
            PARTITION BY warehouse, station, device
            ORDER BY sent_at
            RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND CURRENT ROW
        ) AS records_per_min,
        coalesce(spool_gone - min(spool_gone) OVER (
            PARTITION BY warehouse, station, device
            ORDER BY sent_at
            RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW
        ), 0) AS given_up
    FROM device_health
    WHERE kind = 'agent'
),

judged AS (
    SELECT
        *,
        spool_records >= 100 AND coalesce(records_per_min >= 30.0, FALSE) AS filling,
        spool_records < 50 OR coalesce(records_per_min <= 0.0, FALSE) AS easing
    FROM trend
)

SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    spool_records,
    records_per_min,
    given_up,
    filling OR given_up > 0 OR in_memory AS fire,
    easing AND given_up = 0 AND NOT in_memory AS clear,
    CASE WHEN given_up > 0 OR in_memory THEN 'high' ELSE 'medium' END AS severity,
    CASE WHEN in_memory THEN 'check_disk' ELSE 'check_link' END AS recommendation,
    CASE
        WHEN in_memory THEN 'in_memory'
        WHEN given_up > 0 THEN 'losing'
        WHEN filling THEN 'filling'
    END AS reason,
    CASE WHEN given_up > 0 THEN given_up ELSE records_per_min END AS quantity,
    CASE WHEN given_up > 0 THEN 'records' ELSE 'records/min' END AS quantity_unit
FROM judged;
