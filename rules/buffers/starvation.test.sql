-- rule: buffer_starvation

CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'path' AS unit_type,
    100.0 AS capacity,
    0.1 AS starve_on,
    0.2 AS starve_off,
    TRUE AS active,
    column1 AS unit_id
FROM (VALUES ('MAD1_PACK_A'), ('MAD1_PACK_B'), ('MAD1_PACK_C'));

-- test: at the lower limit or below it: raise the inflow up to the upper one
-- until: 2026-03-02 08:04:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    t.column2 AS fill,
    10.0 AS inflow_per_min,
    12.0 AS outflow_per_min,
    5 AS active_stations,
    5 AS planned_stations
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (VALUES ('MAD1_PACK_A', 10.0), ('MAD1_PACK_B', 0.0), ('MAD1_PACK_C', 11.0)) AS t;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'NEW' AS label,
    'medium' AS severity,
    '2026-03-02 08:00:20' AS event_time,
    'raise_inflow' AS recommendation,
    'items' AS quantity_unit,
    10.0 AS inflow_per_min,
    12.0 AS outflow_per_min,
    5 AS active_stations,
    5 AS planned_stations,
    column1 AS unit_id,
    column2 AS fill_ratio,
    column3 AS quantity
FROM (VALUES ('MAD1_PACK_A', 0.1, 10.0), ('MAD1_PACK_B', 0.0, 20.0));

-- test: inflow that keeps up, and fewer people than planned: add stations
-- until: 2026-03-02 08:04:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    100.0 AS capacity,
    0.1 AS starve_on,
    0.2 AS starve_off,
    TRUE AS active,
    'MAD1_PACK_' || r.n AS unit_id
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 second', 11) AS r;

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PACK_' || t.column1 AS unit_id,
    r.ts,
    8.0 AS fill,
    t.column2 AS active_stations,
    t.column3 AS planned_stations,
    t.column4 AS inflow_per_min,
    t.column5 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (
    VALUES
    (0, 3, 5, 20.0, 15.0),
    (1, 3, 5, 15.0, 15.0),
    (2, 3, 5, 14.0, 15.0),
    (3, 3, 5, 0.0, 0.0),
    (4, 5, 5, 20.0, 15.0),
    (5, 6, 5, 20.0, 15.0),
    (6, 3, 5, NULL, 15.0),
    (7, 3, 5, 20.0, NULL),
    (8, 4, 5, 1.0, 0.0),
    (9, 1, 12, 20.0, 0.0)
) AS t;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PACK_' || column1 AS unit_id,
    column2 AS recommendation,
    column3 AS quantity,
    column4 AS quantity_unit
FROM (
    VALUES
    (0, 'add_stations', 2.0, 'people'),
    (1, 'add_stations', 2.0, 'people'),
    (2, 'raise_inflow', 12.0, 'items'),
    (3, 'raise_inflow', 12.0, 'items'),
    (4, 'raise_inflow', 12.0, 'items'),
    (5, 'raise_inflow', 12.0, 'items'),
    (6, 'raise_inflow', 12.0, 'items'),
    (7, 'raise_inflow', 12.0, 'items'),
    (8, 'add_stations', 1.0, 'people'),
    (9, 'add_stations', 11.0, 'people')
);

-- test: silent while nobody is at work, nobody is planned, or that is not known
-- until: 2026-03-02 08:04:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    100.0 AS capacity,
    0.1 AS starve_on,
    0.2 AS starve_off,
    TRUE AS active,
    'MAD1_PACK_' || r.n AS unit_id
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 second', 7) AS r;

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PACK_' || t.column1 AS unit_id,
    r.ts,
    0.0 AS fill,
    10.0 AS inflow_per_min,
    12.0 AS outflow_per_min,
    t.column2 AS active_stations,
    t.column3 AS planned_stations
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (
    VALUES
    (0, 1, 1),
    (1, 0, 5),
    (2, 5, 0),
    (3, 0, 0),
    (4, NULL, 5),
    (5, 5, NULL),
    (6, NULL, NULL)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PACK_0' AS unit_id,
    'NEW' AS label;

-- test: between the two limits nothing changes, and clear is above the upper one for 2 minutes
-- until: 2026-03-02 08:13:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PACK_A' AS unit_id,
    column1 AS ts,
    column2 AS fill,
    5 AS active_stations,
    5 AS planned_stations
FROM (
    VALUES
    ('2026-03-02 08:00:00', 10.0),
    ('2026-03-02 08:01:00', 15.0),
    ('2026-03-02 08:02:00', 20.0),
    ('2026-03-02 08:04:00', 20.0),
    ('2026-03-02 08:05:00', 21.0),
    ('2026-03-02 08:06:00', 20.0),
    ('2026-03-02 08:07:00', 21.0),
    ('2026-03-02 08:08:00', 21.0),
    ('2026-03-02 08:09:00', 21.0),
    ('2026-03-02 08:10:00', 21.0)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS seq
FROM (VALUES ('2026-03-02 08:00:20', 'NEW', 0), ('2026-03-02 08:09:00', 'CLEARED', 1));

-- test: it is over 2 minutes after the people have gone
-- A: nobody at work. B: nobody planned. C: nothing is known about people any more.
-- until: 2026-03-02 08:09:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    5.0 AS fill,
    CASE WHEN r.n < 2 THEN 5 ELSE t.column2 END AS active_stations,
    CASE WHEN r.n < 2 THEN 5 ELSE t.column3 END AS planned_stations
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 6) AS r
CROSS JOIN (
    VALUES ('MAD1_PACK_A', 0, 5), ('MAD1_PACK_B', 5, 0), ('MAD1_PACK_C', NULL, NULL)
) AS t;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'MAD1_PACK_A', 'NEW'),
    ('2026-03-02 08:00:20', 'MAD1_PACK_B', 'NEW'),
    ('2026-03-02 08:00:20', 'MAD1_PACK_C', 'NEW'),
    ('2026-03-02 08:04:00', 'MAD1_PACK_A', 'CLEARED'),
    ('2026-03-02 08:04:00', 'MAD1_PACK_B', 'CLEARED'),
    ('2026-03-02 08:04:00', 'MAD1_PACK_C', 'CLEARED')
);

-- test: what to do may change while it lasts
-- until: 2026-03-02 08:08:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PACK_A' AS unit_id,
    r.ts,
    8.0 AS fill,
    20.0 AS inflow_per_min,
    15.0 AS outflow_per_min,
    CASE WHEN r.n BETWEEN 2 AND 3 THEN 3 ELSE 5 END AS active_stations,
    5 AS planned_stations
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 6) AS r;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS recommendation,
    column4 AS quantity,
    column5 AS quantity_unit
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'NEW', 'raise_inflow', 12.0, 'items'),
    ('2026-03-02 08:02:00', 'ONGOING', 'add_stations', 2.0, 'people'),
    ('2026-03-02 08:04:00', 'ONGOING', 'raise_inflow', 12.0, 'items')
);

-- test: empty for less than 20 s is not told
-- until: 2026-03-02 08:04:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    5 AS active_stations,
    5 AS planned_stations,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PACK_A', '2026-03-02 08:00:00', 5.0),
    ('MAD1_PACK_A', '2026-03-02 08:00:20', 15.0),
    ('MAD1_PACK_B', '2026-03-02 08:00:00', 5.0),
    ('MAD1_PACK_B', '2026-03-02 08:00:20.000001', 15.0)
);

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PACK_B' AS unit_id,
    'NEW' AS label;

-- test: a fill that is not known changes nothing, unless nobody is at work
-- A is told with the columns of a row without fill and stays; B never has a fill; C is over as soon
-- as its people have gone.
-- until: 2026-03-02 08:08:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    5 AS planned_stations,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill,
    column4 AS active_stations
FROM (
    VALUES
    ('MAD1_PACK_A', '2026-03-02 08:00:00', 5.0, 5),
    ('MAD1_PACK_A', '2026-03-02 08:00:10', NULL, 5),
    ('MAD1_PACK_A', '2026-03-02 08:02:00', NULL, 5),
    ('MAD1_PACK_A', '2026-03-02 08:05:00', NULL, 5),
    ('MAD1_PACK_B', '2026-03-02 08:00:00', NULL, 5),
    ('MAD1_PACK_B', '2026-03-02 08:02:00', NULL, 5),
    ('MAD1_PACK_B', '2026-03-02 08:05:00', NULL, 5),
    ('MAD1_PACK_C', '2026-03-02 08:00:00', 5.0, 5),
    ('MAD1_PACK_C', '2026-03-02 08:01:00', NULL, 5),
    ('MAD1_PACK_C', '2026-03-02 08:02:00', NULL, 0),
    ('MAD1_PACK_C', '2026-03-02 08:05:00', NULL, 0)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label,
    column4 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'MAD1_PACK_A', 'NEW', NULL),
    ('2026-03-02 08:00:20', 'MAD1_PACK_C', 'NEW', 15.0),
    ('2026-03-02 08:04:00', 'MAD1_PACK_C', 'CLEARED', NULL)
);

-- test: without a row for 5 minutes nobody knows, in and out of an episode
-- until: 2026-03-02 08:14:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    5 AS active_stations,
    5 AS planned_stations,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PACK_A', '2026-03-02 08:00:00', 5.0),
    ('MAD1_PACK_A', '2026-03-02 08:01:00', 5.0),
    ('MAD1_PACK_A', '2026-03-02 08:08:00', 5.0),
    ('MAD1_PACK_A', '2026-03-02 08:12:00', 5.0),
    ('MAD1_PACK_B', '2026-03-02 08:00:00', 50.0),
    ('MAD1_PACK_B', '2026-03-02 08:06:00', 50.0),
    ('MAD1_PACK_B', '2026-03-02 08:11:00', 50.0)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label,
    column4 AS seq
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'MAD1_PACK_A', 'NEW', 0),
    ('2026-03-02 08:05:00', 'MAD1_PACK_B', 'NO_DATA', 0),
    ('2026-03-02 08:06:00', 'MAD1_PACK_A', 'NO_DATA', 1),
    ('2026-03-02 08:06:00', 'MAD1_PACK_B', 'CLEARED', 1),
    ('2026-03-02 08:08:00', 'MAD1_PACK_A', 'ONGOING', 2)
);

-- test: a unit that is not active or not known is not judged
-- until: 2026-03-02 08:04:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    100.0 AS capacity,
    0.1 AS starve_on,
    0.2 AS starve_off,
    column1 AS unit_id,
    column2 AS active
FROM (VALUES ('MAD1_PACK_A', TRUE), ('MAD1_PACK_B', FALSE));

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    0.0 AS fill,
    5 AS active_stations,
    5 AS planned_stations
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (VALUES ('MAD1_PACK_A'), ('MAD1_PACK_B'), ('MAD1_PACK_UNKNOWN')) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PACK_A' AS unit_id,
    'NEW' AS label;

-- test: from counters, a level and staffing to the event
-- 22 items at 08:00, 24 a minute leave, none come. At 08:00:30 there are 10 left (the slot ends at
-- 08:00:40), at 08:00:50 two. The staffing of 07:56 holds for 5 minutes.
-- until: 2026-03-02 08:05:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'PACK' AS workpool,
    'MAD1_PACK_A' AS unit_id,
    100.0 AS capacity,
    0.1 AS starve_on,
    0.2 AS starve_off,
    TRUE AS active;

CREATE VIEW given.path_units AS
SELECT
    'MAD1_PACK_A' AS unit_id,
    'A' AS path;

CREATE VIEW given.wms_levels AS
SELECT
    'MAD1' AS warehouse,
    'PACK' AS workpool,
    'A' AS path,
    22 AS items,
    '2026-03-02 08:00:05' AS taken_at;

CREATE VIEW given.labor_staffing AS
SELECT
    'MAD1' AS warehouse,
    'PACK' AS workpool,
    4 AS active_stations,
    6 AS planned_stations,
    '2026-03-02 07:56:00' AS at_ts;

CREATE VIEW given.plc_counters AS
SELECT
    'MAD1' AS warehouse,
    'PACK' AS workpool,
    'A' AS path,
    1000 AS in_total,
    900 + least(4 * r.n, 22) AS out_total,
    r.ts AS counted_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 20) AS r;

CREATE VIEW expect.events AS
SELECT
    'MAD1_PACK_A' AS unit_id,
    column1 AS event_time,
    column2 AS label,
    column3 AS recommendation,
    column4 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:00:59.999999', 'NEW', 'raise_inflow', 18.0),
    ('2026-03-02 08:03:09.999999', 'CLEARED', 'raise_inflow', 20.0)
);
