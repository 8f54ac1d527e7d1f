-- A battery has less than 15 % left; below 5 % its device is about to fall silent. Adapters of
-- battery-powered scanners tell it; weir-edge has none to tell of. The parts of one agent have its
-- device id and a battery each, so they are told apart: agent/part.

CREATE RULE battery_low
WITH (
    kind = 'condition', key = 'station, device', severity = 'low',
    fire_after = '30 seconds', clear_after = '30 seconds', owner = 'devices',
    explain = '{device} has {quantity:.0} % left'
) AS
SELECT
    warehouse,
    station,
    coalesce(device || '/' || part, device) AS device,
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
