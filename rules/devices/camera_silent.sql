-- No frame for 10 s while the station's agent lives. A camera that sees nothing still sends frames.

CREATE RULE camera_silent
WITH (
    kind = 'condition', key = 'station', severity = 'high',
    fire_after = '15 seconds', clear_after = '10 seconds', owner = 'devices'
) AS
SELECT
    h.warehouse,
    h.station,
    h.sent_at AS event_time,
    count(d.frame_id) = 0 AS fire
FROM device_health AS h
LEFT JOIN detections AS d
    ON
        h.warehouse = d.warehouse AND h.station = d.station
        AND d.captured_at BETWEEN h.sent_at - INTERVAL '10 seconds' AND h.sent_at
WHERE h.kind = 'agent'
GROUP BY h.warehouse, h.station, h.sent_at;
