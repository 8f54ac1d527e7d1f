-- rule: spool_growing

-- test: a spool that fills is told once a hundred records wait, over when less than 50 do
-- Six records more each ten seconds are 36 a minute; the hundredth waits at 08:02:50. Records that
-- are more than two minutes apart have no trend.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    6 * r.n AS spool_records
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 24) AS r
UNION ALL
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    column1 AS sent_at,
    column2 AS spool_records
FROM (VALUES ('2026-03-02 08:06:00', 50), ('2026-03-02 08:09:00', 49), ('2026-03-02 08:12:00', 0));

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'medium' AS severity,
    'check_link' AS recommendation,
    'records/min' AS quantity_unit,
    0 AS given_up,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS reason,
    column5 AS spool_records,
    column6 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:03:10', 'NEW', 0, 'filling', 114,
        'the spool of P1-AGENT is filling: 114 records wait, 0 given up'
    ),
    (
        '2026-03-02 08:10:00', 'CLEARED', 1, NULL, 49,
        'the spool of P1-AGENT is well: 49 records wait, 0 given up'
    )
);

-- test: many records that drain are no alarm, nor ones that come slowly, nor few that come fast
-- until: 2026-03-02 08:06:00
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    t.column2 + t.column3 * r.n AS spool_records
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (
    VALUES
    ('drains', 1000, -6),
    ('slowly', 1000, 4),
    ('few', 0, 12),
    ('fast', 100, 6),
    ('99', 51, 6)
) AS t;

-- A trend needs two records: the second one, at 08:00:10, is the first that tells.
CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    '2026-03-02 08:00:30' AS event_time,
    'fast' AS station;

-- test: the trend is that of two minutes, and falling is over
-- 36 a minute up to 180 at 08:05:00, then 72 a minute less. Least squares over the records of two
-- minutes fall from 08:05:50 on, when 120 wait.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    CASE WHEN r.n <= 30 THEN 6 * r.n ELSE 180 - 12 * (r.n - 30) END AS spool_records
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 44) AS r;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:03:10', 'NEW'),
    ('2026-03-02 08:06:50', 'CLEARED')
);

-- test: records that were given up are told for a minute
-- The ledger may begin anew: less than before is no loss.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    0 AS spool_records,
    CASE WHEN r.n < 6 THEN t.column2 WHEN r.n = 6 THEN t.column3 ELSE t.column4 END AS spool_gone
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 21) AS r
CROSS JOIN (
    VALUES
    ('loses', 10, 11, 13),
    ('loses one', 10, 11, 0),
    ('lost long ago', 10, 10, 10),
    ('new card', 10, 0, 0),
    ('says nothing', NULL, NULL, NULL)
) AS t;

CREATE VIEW expect.events AS
SELECT
    'check_link' AS recommendation,
    column1 AS event_time,
    column2 AS station,
    column3 AS label,
    column4 AS severity,
    column5 AS reason,
    column6 AS given_up,
    column7 AS quantity,
    column8 AS quantity_unit,
    column9 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:01:20', 'loses one', 'NEW', 'high', 'losing', 1, 1.0, 'records',
        'the spool of loses one is losing records: 0 records wait, 1 given up'
    ),
    (
        '2026-03-02 08:01:20', 'loses', 'NEW', 'high', 'losing', 3, 3.0, 'records',
        'the spool of loses is losing records: 0 records wait, 3 given up'
    ),
    (
        '2026-03-02 08:03:10', 'loses one', 'CLEARED', 'medium', NULL, 0, 0.0, 'records/min',
        'the spool of loses one is well: 0 records wait, 0 given up'
    ),
    (
        '2026-03-02 08:03:20', 'loses', 'CLEARED', 'medium', NULL, 0, 0.0, 'records/min',
        'the spool of loses is well: 0 records wait, 0 given up'
    )
);

-- test: a loss in an outage is told by the first record that comes in time
-- The link is cut for twenty minutes; the records of that time come at its end, late.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    0 AS spool_records,
    CASE WHEN r.n < 60 THEN 10 ELSE 15 END AS spool_gone
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 140) AS r;

CREATE VIEW given.faults AS
SELECT
    'late' AS kind,
    'device_health' AS stream,
    '2026-03-02 08:01:00' AS from_time,
    '2026-03-02 08:21:00' AS to_time,
    INTERVAL '20 minutes' AS by;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS reason,
    column4 AS given_up
FROM (
    VALUES
    ('2026-03-02 08:21:20', 'NEW', 'losing', 5),
    ('2026-03-02 08:23:10', 'CLEARED', NULL, 0)
);

-- test: each agent has a ledger of its own
CREATE VIEW given.device_health AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS station,
    t.column3 AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    0 AS spool_records,
    t.column4 + CASE WHEN r.n < 3 THEN 0 ELSE t.column5 END AS spool_gone
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 6) AS r
CROSS JOIN (
    VALUES
    ('MAD1', 'P1', 'A', 25, 0),
    ('MAD1', 'P1', 'B', 20, 7),
    ('MAD1', 'P2', 'B', 30, 0),
    ('BCN2', 'P1', 'B', 40, 0)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:50' AS event_time,
    'MAD1' AS warehouse,
    'P1' AS station,
    'B' AS device,
    'NEW' AS label,
    7 AS given_up;

-- test: a record is set against the last one of a day before, and of no more
-- until: 2026-03-02 08:00:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    column1 AS station,
    column1 AS device,
    column2 AS sent_at,
    0 AS spool_records,
    column3 AS spool_gone
FROM (
    VALUES
    ('a day', '2026-03-01 08:00:00', 10),
    ('a day', '2026-03-02 08:00:00', 14),
    ('longer', '2026-03-01 07:59:59.999999', 10),
    ('longer', '2026-03-02 08:00:00', 14)
);

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'a day' AS station,
    'NEW' AS label,
    4 AS given_up;

-- test: a disk that refuses is told before all else
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    0 AS spool_records,
    r.n AS spool_gone,
    CASE WHEN r.n < 6 THEN TRUE WHEN r.n = 6 THEN FALSE END AS spool_in_memory
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 10) AS r;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS severity,
    column4 AS recommendation,
    column5 AS reason,
    column6 AS state
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'NEW', 'high', 'check_disk', 'in_memory', 'in memory only'),
    ('2026-03-02 08:01:00', 'ONGOING', 'high', 'check_link', 'losing', 'losing records')
);

-- test: only the agent has a spool, and less than 20 s are not told
-- until: 2026-03-02 08:02:00
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS device,
    column2 AS kind,
    column3 AS sent_at,
    0 AS spool_records,
    column4 AS spool_in_memory
FROM (
    VALUES
    ('CAM', 'camera', '2026-03-02 08:00:00', TRUE),
    ('CAM', 'camera', '2026-03-02 08:01:00', TRUE),
    ('short', 'agent', '2026-03-02 08:00:00', TRUE),
    ('short', 'agent', '2026-03-02 08:00:19', FALSE),
    ('AGENT', 'agent', '2026-03-02 08:00:00', TRUE),
    ('AGENT', 'agent', '2026-03-02 08:00:20', TRUE)
);

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'AGENT' AS device,
    'NEW' AS label;

-- test: what the second of two records is called
-- A minute apart, so that records more are records a minute.
-- until: 2026-03-02 08:01:05
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    t.column1 AS device,
    r.ts AS sent_at,
    CASE WHEN r.n = 0 THEN t.column2 ELSE t.column3 END AS spool_records
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 2) AS r
CROSS JOIN (
    VALUES
    ('a 99, fast', 49, 99), ('b 100, fast', 50, 100),
    ('c 29 a minute', 171, 200), ('d 30 a minute', 170, 200),
    ('e as many', 200, 200), ('f one more', 199, 200), ('g one less', 201, 200),
    ('h 49', 30, 49), ('i 50', 30, 50)
) AS t;

CREATE VIEW expect.decisions AS
SELECT
    '2026-03-02 08:00:00' AS event_time,
    column1 AS device,
    NULL AS reason,
    'medium' AS severity,
    FALSE AS fire,
    column2 AS clear,
    NULL AS quantity,
    'records/min' AS quantity_unit
FROM (
    VALUES
    ('a 99, fast', TRUE), ('b 100, fast', FALSE), ('c 29 a minute', FALSE),
    ('d 30 a minute', FALSE), ('e as many', FALSE), ('f one more', FALSE),
    ('g one less', FALSE), ('h 49', TRUE), ('i 50', TRUE)
)
UNION ALL
SELECT
    '2026-03-02 08:01:00' AS event_time,
    column1 AS device,
    column2 AS reason,
    column3 AS severity,
    column4 AS fire,
    column5 AS clear,
    column6 AS quantity,
    column7 AS quantity_unit
FROM (
    VALUES
    ('a 99, fast', NULL, 'medium', FALSE, FALSE, 50.0, 'records/min'),
    ('b 100, fast', 'filling', 'medium', TRUE, FALSE, 50.0, 'records/min'),
    ('c 29 a minute', NULL, 'medium', FALSE, FALSE, 29.0, 'records/min'),
    ('d 30 a minute', 'filling', 'medium', TRUE, FALSE, 30.0, 'records/min'),
    ('e as many', NULL, 'medium', FALSE, TRUE, 0.0, 'records/min'),
    ('f one more', NULL, 'medium', FALSE, FALSE, 1.0, 'records/min'),
    ('g one less', NULL, 'medium', FALSE, TRUE, -1.0, 'records/min'),
    ('h 49', NULL, 'medium', FALSE, TRUE, 19.0, 'records/min'),
    ('i 50', NULL, 'medium', FALSE, FALSE, 20.0, 'records/min')
);
