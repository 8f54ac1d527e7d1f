-- No health record of a station's agent for 30 s: its own label, NO_DATA.

CREATE RULE device_silent
WITH (
    kind = 'condition',
    key = 'station',
    severity = 'high',
    no_data = '30 seconds',
    owner = 'devices'
) AS
SELECT
    warehouse,
    station,
    device,
    sent_at AS event_time,
    FALSE AS fire
FROM device_health
WHERE kind = 'agent';
