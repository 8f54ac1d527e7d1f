-- A device is so hot that it slows down (a Pi from 80 °C on), or its disk has less than 500 MB.

CREATE RULE hot_or_full
WITH (
    kind = 'condition', key = 'station, device', severity = 'medium',
    fire_after = '30 seconds', clear_after = '1 minute', owner = 'devices',
    explain = '{device} is {state}: {temp_c:.0} °C, {disk_free_mb:.0} MB free'
) AS
WITH facts AS (
    SELECT
        warehouse,
        station,
        device,
        sent_at,
        temp_c,
        disk_free / 1000000.0 AS disk_free_mb,
        coalesce(temp_c >= 80.0, FALSE) AS is_hot,
        coalesce(temp_c < 75.0, TRUE) AS is_cool,
        coalesce(disk_free < 500000000, FALSE) AS is_full,
        coalesce(disk_free >= 1000000000, TRUE) AS has_room
    FROM device_health
    WHERE temp_c IS NOT NULL OR disk_free IS NOT NULL
),

judged AS (
    SELECT
        *,
        -- What an episode is about, also while it is between its limits.
        is_full OR NOT (is_hot OR has_room) AS about_disk
    FROM facts
)

SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    temp_c,
    disk_free_mb,
    is_hot OR is_full AS fire,
    is_cool AND has_room AS clear,
    CASE WHEN temp_c >= 85.0 OR disk_free_mb < 100.0 THEN 'high' ELSE 'medium' END AS severity,
    -- Nothing is to be done where all is well: there an episode ends.
    CASE WHEN about_disk THEN 'free_disk' WHEN NOT is_cool THEN 'cool_device' END
        AS recommendation,
    CASE
        WHEN is_hot AND is_full THEN 'hot_and_full'
        WHEN is_full THEN 'full'
        WHEN is_hot THEN 'hot'
    END AS reason,
    CASE
        WHEN is_hot AND is_full THEN 'hot and full'
        WHEN is_full THEN 'full'
        WHEN is_hot THEN 'hot'
        WHEN is_cool AND has_room THEN 'well'
        ELSE 'not well yet'
    END AS state,
    CASE WHEN about_disk THEN disk_free_mb WHEN NOT is_cool THEN temp_c END AS quantity,
    CASE WHEN about_disk THEN 'MB' WHEN NOT is_cool THEN '°C' END AS quantity_unit
FROM judged;
