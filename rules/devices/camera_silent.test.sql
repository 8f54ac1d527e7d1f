-- rule: camera_silent

-- test: no frame for 10 s, held for 15 s, until frames are back for 10 s
-- The frame of 08:01:00 still counts at 08:01:10, so 08:01:20 is the first record without one.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 25) AS r;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'frame ' || r.n AS frame_id,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 second', 241) AS r
WHERE r.n <= 60 OR r.n >= 150;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'high' AS severity,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq
FROM (
    VALUES
    ('2026-03-02 08:01:35', 'NEW', 0),
    ('2026-03-02 08:02:40', 'CLEARED', 1)
);

-- test: frames count from 10 s before a record to the record, both included, and no further
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '12 seconds', 4) AS r
CROSS JOIN (VALUES ('10 s before'), ('more than 10 s before'), ('at once'), ('after')) AS t;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS station,
    'frame ' || r.n AS frame_id,
    r.ts + t.column2 AS captured_at
FROM ramp('2026-03-02 07:59:48', INTERVAL '12 seconds', 5) AS r
CROSS JOIN (
    VALUES
    ('10 s before', INTERVAL '2 seconds'),
    ('more than 10 s before', INTERVAL '1999999 microseconds'),
    ('at once', INTERVAL '0 seconds'),
    ('after', INTERVAL '1 microsecond')
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:15' AS event_time,
    column1 AS station,
    'NEW' AS label
FROM (VALUES ('after'), ('more than 10 s before'));

-- test: a frame in which nothing was found is a frame
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (VALUES ('P1'), ('P2')) AS t;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'frame ' || r.n AS frame_id,
    NULL AS brand,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '2 seconds', 31) AS r;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:15' AS event_time,
    'P2' AS station,
    'NEW' AS label;

-- test: with a dead agent nobody knows about the camera, and its first record back is no alarm
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 37) AS r
CROSS JOIN (VALUES ('dead', 61, 299), ('alive', 361, 361)) AS t
WHERE 10 * r.n < t.column2 OR 10 * r.n > t.column3;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS station,
    'frame ' || r.n AS frame_id,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 second', 361) AS r
CROSS JOIN (VALUES ('dead'), ('alive')) AS t
WHERE r.n < 61 OR r.n > 300;

CREATE VIEW expect.events AS
SELECT
    'alive' AS station,
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:01:35', 'NEW'),
    ('2026-03-02 08:05:20', 'CLEARED')
);

-- test: only the agent says that a station lives
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    t.column1 AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r
CROSS JOIN (VALUES ('agent'), ('camera'), ('scanner')) AS t
WHERE r.n < 6 OR t.column1 != 'agent';

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'frame ' || r.n AS frame_id,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '5 seconds', 11) AS r;

CREATE VIEW expect.events AS
SELECT '' AS label
WHERE FALSE;

-- test: silence that ends within 15 s is not told, nor frames that come back for less than 10 s
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    column1 AS station,
    column2 AS sent_at
FROM (
    VALUES
    ('short', '2026-03-02 08:00:00'),
    ('short', '2026-03-02 08:00:15'),
    ('long', '2026-03-02 08:00:00'),
    ('long', '2026-03-02 08:00:15.000001'),
    ('flicker', '2026-03-02 08:00:00'),
    ('flicker', '2026-03-02 08:00:20'),
    ('flicker', '2026-03-02 08:00:25'),
    ('flicker', '2026-03-02 08:00:40'),
    ('flicker', '2026-03-02 08:00:50')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'f' AS frame_id,
    column1 AS station,
    column2 AS captured_at
FROM (
    VALUES
    ('short', '2026-03-02 08:00:15'),
    ('long', '2026-03-02 08:00:15.000001'),
    ('flicker', '2026-03-02 08:00:10.5'),
    ('flicker', '2026-03-02 08:00:40')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS station,
    column3 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:15', 'flicker', 'NEW'),
    ('2026-03-02 08:00:15', 'long', 'NEW'),
    ('2026-03-02 08:00:25.000001', 'long', 'CLEARED'),
    ('2026-03-02 08:00:50', 'flicker', 'CLEARED')
);

-- test: frames of another station or warehouse do not count
CREATE VIEW given.device_health AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS station,
    'agent' AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 4) AS r
CROSS JOIN (VALUES ('MAD1', 'P1'), ('MAD1', 'P2'), ('BCN2', 'P1'), ('BCN2', 'P2')) AS t;

CREATE VIEW given.detections AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS station,
    'frame ' || r.n AS frame_id,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '5 seconds', 7) AS r
CROSS JOIN (VALUES ('MAD1', 'P2'), ('BCN2', 'P1')) AS t;

CREATE VIEW expect.events AS
SELECT
    column1 AS warehouse,
    column2 AS station,
    'NEW' AS label,
    '2026-03-02 08:00:15' AS event_time
FROM (VALUES ('BCN2', 'P2'), ('MAD1', 'P1'));

-- test: frames that come after their time do not count
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'frame ' || r.n AS frame_id,
    r.ts AS captured_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 second', 121) AS r;

CREATE VIEW given.faults AS
SELECT
    'late' AS kind,
    'detections' AS stream,
    '2026-03-02 08:00:21' AS from_time,
    '2026-03-02 08:01:00' AS to_time,
    INTERVAL '30 seconds' AS by;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:55', 'NEW'),
    ('2026-03-02 08:01:10', 'CLEARED')
);
