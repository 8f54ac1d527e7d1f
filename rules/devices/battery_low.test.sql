-- rule: battery_low

-- test: told below 15 %, again below 5 %, over from 25 % on
-- One percent less each ten seconds; at 08:03:30 it hangs on the charger.
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-SCN' AS device,
    'scanner' AS kind,
    r.ts AS sent_at,
    CASE WHEN r.n <= 20 THEN 20.0 - r.n ELSE r.n + 3.0 END AS battery_pct
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 40) AS r;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-SCN' AS device,
    'charge_battery' AS recommendation,
    '%' AS quantity_unit,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS severity,
    column5 AS reason,
    column6 AS quantity,
    column7 AS explain
FROM (
    VALUES
    ('2026-03-02 08:01:30', 'NEW', 0, 'low', 'low', 11.0, 'P1-SCN has 11 % left'),
    ('2026-03-02 08:02:40', 'ONGOING', 1, 'medium', 'empty', 4.0, 'P1-SCN has 4 % left'),
    ('2026-03-02 08:03:30', 'ONGOING', 2, 'low', NULL, 24.0, 'P1-SCN has 24 % left'),
    ('2026-03-02 08:04:10', 'CLEARED', 3, 'low', NULL, 28.0, 'P1-SCN has 28 % left')
);

-- test: 15 % is enough, 25 % is charged, what lasts less than 30 s is not told
-- until: 2026-03-02 08:05:00
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'scanner' AS kind,
    column1 AS device,
    column2 AS sent_at,
    column3 AS battery_pct
FROM (
    VALUES
    ('enough', '2026-03-02 08:00:00', 15.0),
    ('enough', '2026-03-02 08:01:00', 15.0),
    ('low', '2026-03-02 08:00:00', 14.9),
    ('low', '2026-03-02 08:01:00', 24.9),
    ('low', '2026-03-02 08:02:00', 25.0),
    ('low', '2026-03-02 08:02:29', 24.9),
    ('low', '2026-03-02 08:03:00', 25.0),
    ('low', '2026-03-02 08:04:00', 90.0),
    ('short', '2026-03-02 08:00:00', 14.9),
    ('short', '2026-03-02 08:00:29', 15.0),
    ('short', '2026-03-02 08:01:00', 14.9),
    ('short', '2026-03-02 08:01:29', 80.0)
);

CREATE VIEW expect.events AS
SELECT
    'low' AS device,
    column1 AS event_time,
    column2 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:30', 'NEW'),
    ('2026-03-02 08:03:30', 'CLEARED')
);

-- test: a record that says nothing of a battery is none, devices of one station are apart
-- until: 2026-03-02 08:01:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'scanner' AS kind,
    t.column1 AS device,
    r.ts AS sent_at,
    CASE WHEN r.n % 2 = 0 THEN t.column2 END AS battery_pct
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (VALUES ('first', 4.0), ('second', 90.0), ('wired', NULL)) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:30' AS event_time,
    'first' AS device,
    'NEW' AS label,
    'medium' AS severity,
    'empty' AS reason;

-- test: parts of one agent have a battery each
-- until: 2026-03-02 08:01:30
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'P1-AGENT' AS device,
    t.column1 AS kind,
    t.column2 AS part,
    r.ts AS sent_at,
    t.column3 AS battery_pct
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 9) AS r
CROSS JOIN (
    VALUES
    ('agent', NULL, 12.0), ('scanner', 'left', 90.0), ('scanner', 'right', 3.0)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:30' AS event_time,
    'NEW' AS label,
    column1 AS device,
    column2 AS reason,
    column3 AS explain
FROM (
    VALUES
    ('P1-AGENT', 'low', 'P1-AGENT has 12 % left'),
    ('P1-AGENT/right', 'empty', 'P1-AGENT/right has 3 % left')
);

-- test: what each reading is called
-- until: 2026-03-02 08:00:10
CREATE VIEW given.device_health AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'scanner' AS kind,
    column1 AS device,
    '2026-03-02 08:00:00' AS sent_at,
    column2 AS battery_pct
FROM (VALUES ('a', 4.9), ('b', 5.0), ('c', 14.9), ('d', 15.0), ('e', 24.9), ('f', 25.0));

CREATE VIEW expect.decisions AS
SELECT
    column1 AS device,
    column2 AS reason,
    column3 AS severity,
    column4 AS fire,
    column5 AS clear
FROM (
    VALUES
    ('a', 'empty', 'medium', TRUE, FALSE),
    ('b', 'low', 'low', TRUE, FALSE),
    ('c', 'low', 'low', TRUE, FALSE),
    ('d', NULL, 'low', FALSE, FALSE),
    ('e', NULL, 'low', FALSE, FALSE),
    ('f', NULL, 'low', FALSE, TRUE)
);
