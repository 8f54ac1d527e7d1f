-- A battery has less than 15 % left; below 5 % its device is about to fall silent.

CREATE RULE battery_low
WITH (
    kind = 'condition', key = 'station, device', severity = 'low',
    fire_after = '30 seconds', clear_after = '30 seconds', owner = 'devices',
    explain = '{device} has {quantity:.0} % left'
) AS
SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    battery_pct < 15.0 AS fire,
    battery_pct >= 25.0 AS clear,
    CASE WHEN battery_pct < 5.0 THEN 'medium' ELSE 'low' END AS severity,
    'charge_battery' AS recommendation,
    CASE
        WHEN battery_pct < 5.0 THEN 'empty'
        WHEN battery_pct < 15.0 THEN 'low'
    END AS reason,
    battery_pct AS quantity,
    '%' AS quantity_unit
FROM device_health
WHERE battery_pct IS NOT NULL;
