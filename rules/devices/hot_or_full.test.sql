-- rule: hot_or_full

-- test: 80 °C are told after 30 s, 85 °C again, over below 75 °C for a minute
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    20000000000 AS disk_free,
    column1 AS sent_at,
    column2 AS temp_c
FROM (
    VALUES
    ('2026-03-02 08:00:00', 79.9),
    ('2026-03-02 08:01:00', 80.0),
    ('2026-03-02 08:01:29', 84.9),
    ('2026-03-02 08:02:00', 85.0),
    ('2026-03-02 08:03:00', 79.0),
    ('2026-03-02 08:04:00', 75.0),
    ('2026-03-02 08:05:00', 74.9),
    ('2026-03-02 08:05:59', 75.0),
    ('2026-03-02 08:06:00', 60.0),
    ('2026-03-02 08:08:00', 55.0)
);

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    20000.0 AS disk_free_mb,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS severity,
    column5 AS reason,
    column6 AS recommendation,
    column7 AS quantity,
    column8 AS quantity_unit,
    column9 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:01:30', 'NEW', 0, 'medium', 'hot', 'cool_device', 84.9, '°C',
        'P1-AGENT is hot: 85 °C, 20000 MB free'
    ),
    (
        '2026-03-02 08:02:00', 'ONGOING', 1, 'high', 'hot', 'cool_device', 85.0, '°C',
        'P1-AGENT is hot: 85 °C, 20000 MB free'
    ),
    (
        '2026-03-02 08:03:00', 'ONGOING', 2, 'medium', NULL, 'cool_device', 79.0, '°C',
        'P1-AGENT is not well yet: 79 °C, 20000 MB free'
    ),
    (
        '2026-03-02 08:07:00', 'CLEARED', 3, 'medium', NULL, NULL, NULL, NULL,
        'P1-AGENT is well: 60 °C, 20000 MB free'
    )
);

-- test: less than 500 MB are told, less than 100 MB again, over from 1 GB on
-- Between the limits it is still about the disk.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    50.0 AS temp_c,
    column1 AS sent_at,
    column2 AS disk_free
FROM (
    VALUES
    ('2026-03-02 08:00:00', 500000000),
    ('2026-03-02 08:01:00', 499999999),
    ('2026-03-02 08:02:00', 100000000),
    ('2026-03-02 08:03:00', 99000000),
    ('2026-03-02 08:04:00', 999999999),
    ('2026-03-02 08:06:00', 1000000000),
    ('2026-03-02 08:08:00', 1000000000)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS severity,
    column4 AS recommendation,
    column5 AS reason,
    column6 AS quantity,
    column7 AS quantity_unit
FROM (
    VALUES
    ('2026-03-02 08:01:30', 'NEW', 'medium', 'free_disk', 'full', 499.999999, 'MB'),
    ('2026-03-02 08:03:00', 'ONGOING', 'high', 'free_disk', 'full', 99.0, 'MB'),
    ('2026-03-02 08:04:00', 'ONGOING', 'medium', 'free_disk', NULL, 999.999999, 'MB'),
    ('2026-03-02 08:07:00', 'CLEARED', 'medium', NULL, NULL, NULL, NULL)
);

-- test: hot and full at once, and one after the other
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    column1 AS station,
    column1 AS device,
    column2 AS sent_at,
    column3 AS temp_c,
    column4 AS disk_free
FROM (
    VALUES
    ('both', '2026-03-02 08:00:00', 82.0, 400000000),
    ('both', '2026-03-02 08:01:00', 60.0, 400000000),
    ('both', '2026-03-02 08:02:00', 60.0, 2000000000),
    ('both', '2026-03-02 08:04:00', 60.0, 2000000000),
    ('hot, little room', '2026-03-02 08:00:00', 82.0, 700000000),
    ('hot, little room', '2026-03-02 08:01:00', 60.0, 700000000),
    ('hot, little room', '2026-03-02 08:02:00', 60.0, 2000000000),
    ('hot, little room', '2026-03-02 08:04:00', 60.0, 2000000000)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS station,
    column3 AS label,
    column4 AS recommendation,
    column5 AS reason
FROM (
    VALUES
    ('2026-03-02 08:00:30', 'both', 'NEW', 'free_disk', 'hot_and_full'),
    ('2026-03-02 08:00:30', 'hot, little room', 'NEW', 'cool_device', 'hot'),
    ('2026-03-02 08:01:00', 'hot, little room', 'ONGOING', 'free_disk', NULL),
    ('2026-03-02 08:03:00', 'both', 'CLEARED', NULL, NULL),
    ('2026-03-02 08:03:00', 'hot, little room', 'CLEARED', NULL, NULL)
);

-- test: what a machine does not tell is well, a record that tells neither says nothing
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'camera' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    CASE WHEN r.n < 6 THEN t.column2 WHEN r.n >= 9 THEN t.column3 END AS temp_c,
    CASE WHEN r.n < 6 THEN t.column4 WHEN r.n >= 9 THEN t.column5 END AS disk_free
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 20) AS r
CROSS JOIN (
    VALUES
    ('hot, no disk', 81.0, 70.0, NULL, NULL),
    ('full, no sensor', NULL, NULL, 1000, 2000000000),
    ('neither', NULL, NULL, NULL, NULL)
) AS t;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS station,
    column3 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:30', 'full, no sensor', 'NEW'),
    ('2026-03-02 08:00:30', 'hot, no disk', 'NEW'),
    ('2026-03-02 08:02:30', 'full, no sensor', 'CLEARED'),
    ('2026-03-02 08:02:30', 'hot, no disk', 'CLEARED')
);

-- test: less than 30 s are not told
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    column1 AS station,
    column1 AS device,
    column2 AS sent_at,
    column3 AS temp_c
FROM (
    VALUES
    ('short', '2026-03-02 08:00:00', 82.0),
    ('short', '2026-03-02 08:00:29', 79.0),
    ('long', '2026-03-02 08:00:00', 82.0),
    ('long', '2026-03-02 08:00:30', 82.0)
);

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:30' AS event_time,
    'long' AS station,
    'NEW' AS label;

-- test: what each reading is called
-- until: 2026-03-02 08:00:10
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    column1 AS device,
    '2026-03-02 08:00:00' AS sent_at,
    column2 AS temp_c,
    column3 AS disk_free
FROM (
    VALUES
    ('a', 74.9, 1000000000), ('b', 75.0, 1000000000), ('c', 79.9, 1000000000),
    ('d', 80.0, 1000000000), ('e', 84.9, 1000000000), ('f', 85.0, 1000000000),
    ('g', 74.9, 999999999), ('h', 74.9, 500000000), ('i', 74.9, 499999999),
    ('j', 74.9, 100000000), ('k', 74.9, 99999999), ('l', 80.0, 499999999)
);

CREATE VIEW expect.decisions AS
SELECT
    column1 AS device,
    column2 AS reason,
    column3 AS severity,
    column4 AS recommendation,
    column5 AS fire,
    column6 AS clear,
    column7 AS state
FROM (
    VALUES
    ('a', NULL, 'medium', NULL, FALSE, TRUE, 'well'),
    ('b', NULL, 'medium', 'cool_device', FALSE, FALSE, 'not well yet'),
    ('c', NULL, 'medium', 'cool_device', FALSE, FALSE, 'not well yet'),
    ('d', 'hot', 'medium', 'cool_device', TRUE, FALSE, 'hot'),
    ('e', 'hot', 'medium', 'cool_device', TRUE, FALSE, 'hot'),
    ('f', 'hot', 'high', 'cool_device', TRUE, FALSE, 'hot'),
    ('g', NULL, 'medium', 'free_disk', FALSE, FALSE, 'not well yet'),
    ('h', NULL, 'medium', 'free_disk', FALSE, FALSE, 'not well yet'),
    ('i', 'full', 'medium', 'free_disk', TRUE, FALSE, 'full'),
    ('j', 'full', 'medium', 'free_disk', TRUE, FALSE, 'full'),
    ('k', 'full', 'high', 'free_disk', TRUE, FALSE, 'full'),
    ('l', 'hot_and_full', 'medium', 'free_disk', TRUE, FALSE, 'hot and full')
);
