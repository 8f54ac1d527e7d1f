-- rule: device_behind

-- test: half a minute behind is told after 20 s, ten minutes again, over below ten seconds
-- Ten seconds more each ten seconds; from 08:11:40 on a minute less with each record.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'agent' AS kind,
    r.ts AS sent_at,
    r.n AS spool_records,
    CASE WHEN r.n <= 69 THEN 10.0 * r.n ELSE greatest(0.0, 690.0 - 60.0 * (r.n - 69)) END
        AS spool_oldest_s
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 90) AS r;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    'check_link' AS recommendation,
    's' AS quantity_unit,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS severity,
    column5 AS reason,
    column6 AS quantity,
    column7 AS spool_records,
    column8 AS explain
FROM (
    VALUES
    (
        '2026-03-02 08:00:50', 'NEW', 0, 'medium', 'behind', 50.0, 5,
        'P1-AGENT is 50 s behind, 5 records wait'
    ),
    (
        '2026-03-02 08:10:00', 'ONGOING', 1, 'high', 'far_behind', 600.0, 60,
        'P1-AGENT is 600 s behind, 60 records wait'
    ),
    (
        '2026-03-02 08:11:50', 'ONGOING', 2, 'medium', 'behind', 570.0, 71,
        'P1-AGENT is 570 s behind, 71 records wait'
    ),
    (
        '2026-03-02 08:14:00', 'CLEARED', 3, 'medium', NULL, 0.0, 84,
        'P1-AGENT is 0 s behind, 84 records wait'
    )
);

-- test: where nothing waits there is no oldest record, and that is well
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    t.column1 AS station,
    t.column1 AS device,
    r.ts AS sent_at,
    0 AS spool_records,
    CASE WHEN t.column1 = 'behind' AND r.n < 6 THEN 30.0 END AS spool_oldest_s
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 12) AS r
CROSS JOIN (VALUES ('behind'), ('well')) AS t;

CREATE VIEW expect.events AS
SELECT
    'behind' AS station,
    column1 AS event_time,
    column2 AS label,
    column3 AS quantity,
    column4 AS explain
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'NEW', 30.0, 'behind is 30 s behind, 0 records wait'),
    ('2026-03-02 08:01:30', 'CLEARED', 0.0, 'behind is 0 s behind, 0 records wait')
);

-- test: only the agent has a spool
-- until: 2026-03-02 08:01:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    t.column1 AS device,
    t.column2 AS kind,
    r.ts AS sent_at,
    90.0 AS spool_oldest_s
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (VALUES ('AGENT', 'agent'), ('CAM', 'camera'), ('SCN', 'scanner')) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'AGENT' AS device,
    'NEW' AS label;

-- test: less than 20 s are not told, nor less than 30 s in which nothing waits
-- until: 2026-03-02 08:05:00
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    column1 AS device,
    column2 AS sent_at,
    column3 AS spool_oldest_s
FROM (
    VALUES
    ('short', '2026-03-02 08:00:00', 40.0),
    ('short', '2026-03-02 08:00:19', 29.0),
    ('drains', '2026-03-02 08:00:00', 40.0),
    ('drains', '2026-03-02 08:01:00', 10.0),
    ('drains', '2026-03-02 08:02:00', 9.9),
    ('drains', '2026-03-02 08:02:29', 10.0),
    ('drains', '2026-03-02 08:03:00', 9.9),
    ('drains', '2026-03-02 08:04:00', 0.0)
);

CREATE VIEW expect.events AS
SELECT
    'drains' AS device,
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'NEW'),
    ('2026-03-02 08:03:30', 'CLEARED')
);

-- test: what each age is called
-- until: 2026-03-02 08:00:10
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    column1 AS device,
    '2026-03-02 08:00:00' AS sent_at,
    column2 AS spool_oldest_s
FROM (VALUES ('a', 9.9), ('b', 10.0), ('c', 29.9), ('d', 30.0), ('e', 599.9), ('f', 600.0));

CREATE VIEW expect.decisions AS
SELECT
    column1 AS device,
    column2 AS reason,
    column3 AS severity,
    column4 AS fire,
    column5 AS clear
FROM (
    VALUES
    ('a', NULL, 'medium', FALSE, TRUE),
    ('b', NULL, 'medium', FALSE, FALSE),
    ('c', NULL, 'medium', FALSE, FALSE),
    ('d', 'behind', 'medium', TRUE, FALSE),
    ('e', 'behind', 'medium', TRUE, FALSE),
    ('f', 'far_behind', 'high', TRUE, FALSE)
);
