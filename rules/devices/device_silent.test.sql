-- rule: device_silent

-- test: an agent is silent 30 s after its last record, and the next one ends it
-- until: 2026-03-02 08:03:20
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-agent' AS device,
    'agent' AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 19) AS r
WHERE r.n <= 6 OR r.n >= 13;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-agent' AS device,
    'high' AS severity,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq
FROM (
    VALUES
    ('2026-03-02 08:01:30', 'NO_DATA', 0),
    ('2026-03-02 08:02:10', 'CLEARED', 1)
);

-- test: records 30 s apart are in time, further apart they are not
-- until: 2026-03-02 08:01:25
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'agent' AS kind,
    column1 AS station,
    column2 AS sent_at
FROM (
    VALUES
    ('P1', '2026-03-02 08:00:00'),
    ('P1', '2026-03-02 08:00:30'),
    ('P1', '2026-03-02 08:01:00'),
    ('P2', '2026-03-02 08:00:00'),
    ('P2', '2026-03-02 08:00:30.000001'),
    ('P2', '2026-03-02 08:01:00')
);

CREATE VIEW expect.events AS
SELECT
    'P2' AS station,
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:30', 'NO_DATA'),
    ('2026-03-02 08:00:30.000001', 'CLEARED')
);

-- test: who never came back is told once
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    '2026-03-02 08:00:00' AS sent_at;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:30' AS event_time,
    'NO_DATA' AS label;

-- test: only the agent's own records count, and each station is judged for itself
-- until: 2026-03-02 08:02:05
CREATE VIEW given.device_health AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS station,
    t.column3 AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r
CROSS JOIN (
    VALUES
    ('MAD1', 'P1', 'agent', 3),
    ('MAD1', 'P1', 'camera', 13),
    ('MAD1', 'P1', 'scanner', 13),
    ('MAD1', 'P2', 'agent', 13),
    ('MAD1', 'P3', 'camera', 3),
    ('BCN2', 'P1', 'agent', 13),
    ('BCN2', 'P2', 'agent', 5)
) AS t
WHERE r.n < t.column4;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS warehouse,
    column3 AS station,
    'NO_DATA' AS label
FROM (
    VALUES
    ('2026-03-02 08:00:50', 'MAD1', 'P1'),
    ('2026-03-02 08:01:10', 'BCN2', 'P2')
);

-- test: a record that comes too late does not wake the agent
-- until: 2026-03-02 08:02:05
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'agent' AS kind,
    r.ts AS sent_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r;

CREATE VIEW given.faults AS
SELECT
    column1 AS kind,
    'device_health' AS stream,
    column2 AS from_time,
    column3 AS to_time,
    column4 AS by
FROM (
    VALUES
    ('gap', '2026-03-02 08:00:15', '2026-03-02 08:00:25', NULL),
    ('late', '2026-03-02 08:00:25', '2026-03-02 08:00:35', INTERVAL '30 seconds'),
    ('gap', '2026-03-02 08:00:35', '2026-03-02 08:00:45', NULL)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:40', 'NO_DATA'),
    ('2026-03-02 08:00:50', 'CLEARED')
);
