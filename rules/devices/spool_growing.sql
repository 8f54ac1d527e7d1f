-- An agent's spool fills: a hundred records wait, and each minute thirty more come than leave. Or
-- records were given up within the last minute; or the disk refuses, and they wait in memory only.
-- A record's number is set against the last one that came in time, up to a day before: after an
-- outage the records that told of the loss are late, and the first in time has none near it.
-- State: of a day one row a device, besides two minutes of rows.

CREATE RULE spool_growing
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '20 seconds', clear_after = '1 minute', owner = 'devices',
    explain = 'the spool of {device} is {state}: {spool_records} records wait, {given_up} given up'
) AS
WITH health AS (
    SELECT
        warehouse,
        station,
        device,
        sent_at,
        spool_records,
        spool_gone,
        coalesce(spool_in_memory, FALSE) AS in_memory
    FROM device_health
    WHERE kind = 'agent'
),

steps AS (
    SELECT
        h.*,
        -- A ledger that begins anew has less than before: that is no loss.
        greatest(h.spool_gone - b.spool_gone, 0) AS lost
    FROM health AS h ASOF LEFT JOIN health AS b
        ON
            h.warehouse = b.warehouse AND h.station = b.station AND h.device = b.device
            AND h.sent_at > b.sent_at AND b.sent_at >= h.sent_at - INTERVAL '1 day'
),

trend AS (
    SELECT
        warehouse,
        station,
        device,
        sent_at,
        spool_records,
        in_memory,
        regr_slope(spool_records, extract(EPOCH FROM sent_at) / 60.0) OVER (
            PARTITION BY warehouse, station, device
            ORDER BY sent_at
            RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND CURRENT ROW
        ) AS records_per_min,
        coalesce(sum(lost) OVER (
            PARTITION BY warehouse, station, device
            ORDER BY sent_at
            RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND CURRENT ROW
        ), 0) AS given_up
    FROM steps
),

judged AS (
    SELECT
        *,
        spool_records >= 100 AND coalesce(records_per_min >= 30.0, FALSE) AS filling,
        (spool_records < 50 OR coalesce(records_per_min <= 0.0, FALSE))
        AND given_up = 0 AND NOT in_memory AS is_well
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
    is_well AS clear,
    CASE WHEN given_up > 0 OR in_memory THEN 'high' ELSE 'medium' END AS severity,
    CASE WHEN in_memory THEN 'check_disk' ELSE 'check_link' END AS recommendation,
    CASE
        WHEN in_memory THEN 'in_memory'
        WHEN given_up > 0 THEN 'losing'
        WHEN filling THEN 'filling'
    END AS reason,
    CASE
        WHEN in_memory THEN 'in memory only'
        WHEN given_up > 0 THEN 'losing records'
        WHEN filling THEN 'filling'
        WHEN is_well THEN 'well'
        ELSE 'not well yet'
    END AS state,
    CASE WHEN given_up > 0 THEN given_up ELSE records_per_min END AS quantity,
    CASE WHEN given_up > 0 THEN 'records' ELSE 'records/min' END AS quantity_unit
FROM judged;
