-- rule: clock_skew

-- test: half a second ahead is told after 20 s, over when less than a quarter is left for 30 s
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    FALSE AS clock_synced,
    CASE
        WHEN r.n < 6 THEN 499
        WHEN r.n < 12 THEN 500
        WHEN r.n < 18 THEN 250
        ELSE 249
    END AS clock_offset_ms
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 25) AS r;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'medium' AS severity,
    'set_clock' AS recommendation,
    'ms' AS quantity_unit,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS reason,
    column5 AS quantity,
    column6 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:01:20', 'NEW', 0, 'ahead', 500.0,
        'the clock of P1-AGENT is ahead, 500 ms off'
    ),
    (
        '2026-03-02 08:03:30', 'CLEARED', 1, NULL, 249.0,
        'the clock of P1-AGENT is well, 249 ms off'
    )
);

-- test: a clock that is behind, or far off
-- Records of one that is more than 5 minutes ahead are rejected before any rule.
-- until: 2026-03-02 08:01:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    TRUE AS clock_synced,
    t.column2 AS clock_offset_ms
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (
    VALUES
    ('right', 0),
    ('nearly', -499),
    ('behind', -500),
    ('4.999 s', -4999),
    ('5 s', -5000),
    ('5 min', 299999)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'NEW' AS label,
    column1 AS station,
    column2 AS severity,
    column3 AS reason,
    column4 AS quantity
FROM (
    VALUES
    ('4.999 s', 'medium', 'behind', -4999.0),
    ('5 min', 'high', 'ahead', 299999.0),
    ('5 s', 'high', 'behind', -5000.0),
    ('behind', 'medium', 'behind', -500.0)
);

-- test: where nobody knows how far it is off, it counts whether somebody sets it
-- A silence about both changes nothing: neither before an episode nor in it.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    CASE
        WHEN t.column1 = 'silent' THEN NULL
        WHEN r.n < 6 THEN t.column1 = 'set'
        WHEN r.n >= 12 THEN TRUE
    END AS clock_synced
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 20) AS r
CROSS JOIN (VALUES ('set'), ('not set'), ('silent')) AS t;

CREATE VIEW expect.events AS
SELECT
    'not set' AS station,
    column1 AS event_time,
    column2 AS label,
    column3 AS reason,
    NULL AS quantity,
    column4 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:00:20', 'NEW', 'unsynced',
        'the clock of not set is unsynced, nobody knows how far off'
    ),
    (
        '2026-03-02 08:02:30', 'CLEARED', NULL,
        'the clock of not set is well, nobody knows how far off'
    )
);

-- test: where it is known to be right, it may run free; only the agent's clock counts
-- until: 2026-03-02 08:01:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    t.column1 AS device,
    t.column2 AS kind,
    r.ts AS sent_at,
    FALSE AS clock_synced,
    t.column3 AS clock_offset_ms
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (
    VALUES
    ('free', 'agent', 20),
    ('CAM', 'camera', 9000),
    ('SCN', 'scanner', 9000),
    ('off', 'agent', 600)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'off' AS device,
    'NEW' AS label;

-- test: less than 20 s are not told, nor a clock that is right for less than 30 s
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    TRUE AS clock_synced,
    column1 AS station,
    column1 AS device,
    column2 AS sent_at,
    column3 AS clock_offset_ms
FROM (
    VALUES
    ('short', '2026-03-02 08:00:00', 700),
    ('short', '2026-03-02 08:00:19', 300),
    ('short', '2026-03-02 08:00:30', 700),
    ('short', '2026-03-02 08:00:49', 0),
    ('long', '2026-03-02 08:00:00', 700),
    ('long', '2026-03-02 08:00:30', 0),
    ('long', '2026-03-02 08:00:59', 250),
    ('long', '2026-03-02 08:01:10', 0),
    ('long', '2026-03-02 08:02:00', 0)
);

CREATE VIEW expect.events AS
SELECT
    'long' AS station,
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'NEW'),
    ('2026-03-02 08:01:40', 'CLEARED')
);

-- test: what each offset is called
-- until: 2026-03-02 08:00:10
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    TRUE AS clock_synced,
    column1 AS device,
    '2026-03-02 08:00:00' AS sent_at,
    column2 AS clock_offset_ms
FROM (
    VALUES
    ('a', -5000), ('b', -4999), ('c', -500), ('d', -499), ('e', -250), ('f', -249), ('g', 249),
    ('h', 250), ('i', 499), ('j', 500), ('k', 4999), ('l', 5000)
);

CREATE VIEW expect.decisions AS
SELECT
    column1 AS device,
    column2 AS reason,
    column3 AS severity,
    column4 AS fire,
    column5 AS clear,
    column6 AS state
FROM (
    VALUES
    ('a', 'behind', 'high', TRUE, FALSE, 'behind'),
    ('b', 'behind', 'medium', TRUE, FALSE, 'behind'),
    ('c', 'behind', 'medium', TRUE, FALSE, 'behind'),
    ('d', NULL, 'medium', FALSE, FALSE, 'not well yet'),
    ('e', NULL, 'medium', FALSE, FALSE, 'not well yet'),
    ('f', NULL, 'medium', FALSE, TRUE, 'well'),
    ('g', NULL, 'medium', FALSE, TRUE, 'well'),
    ('h', NULL, 'medium', FALSE, FALSE, 'not well yet'),
    ('i', NULL, 'medium', FALSE, FALSE, 'not well yet'),
    ('j', 'ahead', 'medium', TRUE, FALSE, 'ahead'),
    ('k', 'ahead', 'medium', TRUE, FALSE, 'ahead'),
    ('l', 'ahead', 'high', TRUE, FALSE, 'ahead')
);
