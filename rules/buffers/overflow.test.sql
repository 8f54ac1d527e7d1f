-- rule: buffer_overflow
-- Rows lie some minutes apart, so that a trend can be followed by hand: of three rows at equal
-- distances it is the last fill less the first, over the time between them.

CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'total' AS unit_type,
    1000.0 AS capacity,
    0.9 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active,
    column1 AS unit_id
FROM (VALUES ('MAD1_PICK_A'), ('MAD1_PICK_B'), ('MAD1_PICK_C'), ('MAD1_PICK_D'));

-- test: full: what to throttle depends on the unit's type, how much on its size
-- until: 2026-03-02 08:06:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    0.9 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active,
    column1 AS unit_id,
    column2 AS unit_type,
    column3 AS capacity
FROM (
    VALUES
    ('MAD1_PICK_TOTAL', 'total', 10000.0),
    ('MAD1_PICK_PATH', 'path', 20000.0),
    ('MAD1_PICK_INDUCT', 'induct', 5000.0),
    ('MAD1_PICK_ALMOST', 'total', 10000.0)
);

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    t.column2 + 2 * r.n AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 3) AS r
CROSS JOIN (
    VALUES
    ('MAD1_PICK_TOTAL', 8996),
    ('MAD1_PICK_PATH', 17996),
    ('MAD1_PICK_INDUCT', 4496),
    ('MAD1_PICK_ALMOST', 8995)
) AS t;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'NEW' AS label,
    'high' AS severity,
    '2026-03-02 08:02:20' AS event_time,
    0.9 AS fill_ratio,
    2.0 AS items_per_min,
    'items/min' AS quantity_unit,
    column1 AS unit_id,
    column2 AS recommendation,
    column3 AS quantity,
    column4 AS minutes_to_overflow
FROM (
    VALUES
    ('MAD1_PICK_INDUCT', 'induct_throttle', 52.0, 250.0),
    ('MAD1_PICK_PATH', 'throttle_inflow', 202.0, 1000.0),
    ('MAD1_PICK_TOTAL', 'picking_throttle', 102.0, 500.0)
);

-- test: not full yet, but within the horizon by its trend, from 60 % on
-- A: at 552 of 640 it is full in 88 / 9 minutes. B: at 500 of 600 in exactly 10. C: at 500 of 1000
-- it would be full in exactly 10 too, but 60 % are reached at 600. D: the same, past 59.5 %. E: 6
-- hours away.
-- until: 2026-03-02 08:32:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'path' AS unit_type,
    0.95 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active,
    column1 AS unit_id,
    column2 AS capacity
FROM (
    VALUES
    ('MAD1_PICK_A', 640.0),
    ('MAD1_PICK_B', 600.0),
    ('MAD1_PICK_C', 1000.0),
    ('MAD1_PICK_D', 1000.0),
    ('MAD1_PICK_E', 1000.0)
);

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    t.column2 + t.column3 * r.n AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 30) AS r
CROSS JOIN (
    VALUES
    ('MAD1_PICK_A', 300.0, 9.0),
    ('MAD1_PICK_B', 300.0, 10.0),
    ('MAD1_PICK_C', 0.0, 50.0),
    ('MAD1_PICK_D', 100.0, 45.0),
    ('MAD1_PICK_E', 600.0, 1.0)
) AS t;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    'throttle_inflow' AS recommendation,
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS fill_ratio,
    column4 AS items_per_min,
    column5 AS minutes_to_overflow,
    column6 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:12:20', 'MAD1_PICK_C', 0.6, 50.0, 8.0, 30.0),
    ('2026-03-02 08:12:20', 'MAD1_PICK_D', 0.64, 45.0, 8.0, 29.0),
    ('2026-03-02 08:20:20', 'MAD1_PICK_B', 500.0 / 600.0, 10.0, 10.0, 12.0),
    ('2026-03-02 08:28:20', 'MAD1_PICK_A', 0.8625, 9.0, 88.0 / 9.0, 13.0)
);

-- test: a trend of half an item a minute or less is none
-- A rises by one item in 2 minutes and is told at 99.9 %; B by 5 in 595 seconds, and is told before
-- it is full in 595 seconds more.
-- until: 2026-03-02 08:21:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'total' AS unit_type,
    1000.0 AS capacity,
    0.999 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active,
    column1 AS unit_id
FROM (VALUES ('MAD1_PICK_A'), ('MAD1_PICK_B'));

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PICK_A' AS unit_id,
    r.ts,
    990 + r.n AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '2 minutes', 10) AS r
UNION ALL
SELECT
    'MAD1' AS warehouse,
    'MAD1_PICK_B' AS unit_id,
    r.ts,
    least(990 + 3 * r.n, 995) AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '297500 milliseconds', 5) AS r;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS minutes_to_overflow,
    column4 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:10:15', 'MAD1_PICK_B', 595.0 / 60.0, 19.5 + 300.0 / 595.0),
    ('2026-03-02 08:18:20', 'MAD1_PICK_A', NULL, 20.4)
);

-- test: the trend is that of the last 10 minutes, the bound included
-- A: from 08:00 to 08:10 by 400 in 10 minutes. B: the row of 08:00 is older than 10 minutes; of
-- (4, 500), (8, 500), (11, 900) it is 2000 / 37. C: the row of 08:00 is a second too old; with it C
-- would be full in 7 minutes.
-- until: 2026-03-02 08:14:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PICK_A', '2026-03-02 08:00:00', 500.0),
    ('MAD1_PICK_A', '2026-03-02 08:05:00', 500.0),
    ('MAD1_PICK_A', '2026-03-02 08:10:00', 900.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:00', 0.0),
    ('MAD1_PICK_B', '2026-03-02 08:04:00', 500.0),
    ('MAD1_PICK_B', '2026-03-02 08:08:00', 500.0),
    ('MAD1_PICK_B', '2026-03-02 08:11:00', 900.0),
    ('MAD1_PICK_C', '2026-03-02 08:00:00', 0.0),
    ('MAD1_PICK_C', '2026-03-02 08:04:00', 590.0),
    ('MAD1_PICK_C', '2026-03-02 08:08:00', 590.0),
    ('MAD1_PICK_C', '2026-03-02 08:10:01', 610.0)
);

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS items_per_min,
    column4 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:10:20', 'MAD1_PICK_A', 40.0, 50.0),
    ('2026-03-02 08:11:20', 'MAD1_PICK_B', 2000.0 / 37.0, 2000.0 / 37.0 + 10.0)
);

-- test: nothing to throttle where it falls by itself, and no figure where the trend is unknown
-- until: 2026-03-02 08:04:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PICK_A', '2026-03-02 08:00:00', 1000.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:10', 990.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:20', 980.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:00', 950.0)
);

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    'picking_throttle' AS recommendation,
    '2026-03-02 08:00:20' AS event_time,
    column1 AS unit_id,
    column2 AS quantity
FROM (VALUES ('MAD1_PICK_A', 0.0), ('MAD1_PICK_B', NULL));

-- test: between the two limits nothing changes, and clear is below the lower one for 3 minutes
-- until: 2026-03-02 08:16:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PICK_A' AS unit_id,
    column1 AS ts,
    column2 AS fill
FROM (
    VALUES
    ('2026-03-02 08:00:00', 890.0),
    ('2026-03-02 08:01:00', 900.0),
    ('2026-03-02 08:02:00', 850.0),
    ('2026-03-02 08:03:00', 800.0),
    ('2026-03-02 08:04:00', 790.0),
    ('2026-03-02 08:05:00', 790.0),
    ('2026-03-02 08:06:00', 800.0),
    ('2026-03-02 08:07:00', 799.0),
    ('2026-03-02 08:08:00', 799.0),
    ('2026-03-02 08:09:00', 799.0),
    ('2026-03-02 08:10:00', 799.0),
    ('2026-03-02 08:11:00', 799.0),
    ('2026-03-02 08:12:00', 799.0)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS fill_ratio
FROM (
    VALUES
    ('2026-03-02 08:01:20', 'NEW', 0, 0.9),
    ('2026-03-02 08:10:00', 'CLEARED', 1, 0.799)
);

-- test: below the lower limit it is clear only if it is not full again within two horizons
-- From 08:08 to 08:16 A rises by 12.5 a minute and has exactly 20 minutes to go, so it waits for
-- 08:20; B rises by 11.25 and has 23.
-- until: 2026-03-02 08:28:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'total' AS unit_type,
    1000.0 AS capacity,
    0.9 AS overflow_on,
    0.85 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active,
    column1 AS unit_id
FROM (VALUES ('MAD1_PICK_A'), ('MAD1_PICK_B'));

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    CASE r.n
        WHEN 0 THEN 500.0 WHEN 1 THEN 600.0 WHEN 2 THEN 650.0 WHEN 3 THEN 800.0 ELSE t.column2
    END AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '4 minutes', 7) AS r
CROSS JOIN (VALUES ('MAD1_PICK_A', 750.0), ('MAD1_PICK_B', 740.0)) AS t;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label,
    column4 AS quantity
FROM (
    VALUES
    ('2026-03-02 08:12:20', 'MAD1_PICK_A', 'NEW', 20.0),
    ('2026-03-02 08:12:20', 'MAD1_PICK_B', 'NEW', 20.0),
    ('2026-03-02 08:19:00', 'MAD1_PICK_B', 'CLEARED', 0.25),
    ('2026-03-02 08:23:00', 'MAD1_PICK_A', 'CLEARED', 0.0)
);

-- test: full for less than 20 s is not told
-- until: 2026-03-02 08:04:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PICK_A', '2026-03-02 08:00:00', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:10', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:20', 850.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:00', 950.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:10', 950.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:20.000001', 850.0)
);

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PICK_B' AS unit_id,
    'NEW' AS label;

-- test: without a row for 5 minutes nobody knows, in and out of an episode
-- until: 2026-03-02 08:14:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PICK_A', '2026-03-02 08:00:00', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:01:00', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:08:00', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:12:00', 950.0),
    ('MAD1_PICK_B', '2026-03-02 08:00:00', 100.0),
    ('MAD1_PICK_B', '2026-03-02 08:06:00', 100.0),
    ('MAD1_PICK_B', '2026-03-02 08:11:00', 100.0),
    ('MAD1_PICK_C', '2026-03-02 08:00:00', 100.0),
    ('MAD1_PICK_C', '2026-03-02 08:05:00', 100.0),
    ('MAD1_PICK_C', '2026-03-02 08:10:00', 100.0)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label,
    column4 AS seq
FROM (
    VALUES
    ('2026-03-02 08:00:20', 'MAD1_PICK_A', 'NEW', 0),
    ('2026-03-02 08:05:00', 'MAD1_PICK_B', 'NO_DATA', 0),
    ('2026-03-02 08:06:00', 'MAD1_PICK_A', 'NO_DATA', 1),
    ('2026-03-02 08:06:00', 'MAD1_PICK_B', 'CLEARED', 1),
    ('2026-03-02 08:08:00', 'MAD1_PICK_A', 'ONGOING', 2)
);

-- test: a fill that is not known changes nothing, and says no figure
-- A is PENDING, then CLEARING over rows without a fill; B never has one.
-- until: 2026-03-02 08:07:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    column1 AS unit_id,
    column2 AS ts,
    column3 AS fill
FROM (
    VALUES
    ('MAD1_PICK_A', '2026-03-02 08:00:00', 960.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:05', 950.0),
    ('MAD1_PICK_A', '2026-03-02 08:00:10', NULL),
    ('MAD1_PICK_A', '2026-03-02 08:00:30', 700.0),
    ('MAD1_PICK_A', '2026-03-02 08:02:00', NULL),
    ('MAD1_PICK_A', '2026-03-02 08:03:00', NULL),
    ('MAD1_PICK_B', '2026-03-02 08:00:00', NULL),
    ('MAD1_PICK_B', '2026-03-02 08:00:10', NULL),
    ('MAD1_PICK_B', '2026-03-02 08:03:00', NULL)
);

CREATE VIEW expect.events AS
SELECT
    'MAD1_PICK_A' AS unit_id,
    'picking_throttle' AS recommendation,
    NULL AS fill_ratio,
    NULL AS quantity,
    column1 AS event_time,
    column2 AS label
FROM (VALUES ('2026-03-02 08:00:20', 'NEW'), ('2026-03-02 08:03:30', 'CLEARED'));

-- test: a unit that is not active or not known is not judged
-- until: 2026-03-02 08:04:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'total' AS unit_type,
    1000.0 AS capacity,
    0.9 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    column1 AS unit_id,
    column2 AS active
FROM (VALUES ('MAD1_PICK_A', TRUE), ('MAD1_PICK_B', FALSE));

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    950.0 AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 7) AS r
CROSS JOIN (VALUES ('MAD1_PICK_A'), ('MAD1_PICK_B'), ('MAD1_PICK_UNKNOWN')) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:00:20' AS event_time,
    'MAD1_PICK_A' AS unit_id,
    'NEW' AS label;

-- test: the trend of a unit is its own, not that of another unit or of another warehouse
-- Taken together, A and B, or the two warehouses of C, would rise by some 100 items a minute.
-- until: 2026-03-02 08:07:00
CREATE VIEW given.buffer_fill AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS unit_id,
    r.ts,
    t.column5 AS fill
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 7) AS r
INNER JOIN (
    VALUES
    ('MAD1', 'MAD1_PICK_A', 0, 3, 500.0),
    ('MAD1', 'MAD1_PICK_B', 4, 6, 850.0),
    ('MAD1', 'MAD1_PICK_C', 4, 6, 850.0),
    ('BCN2', 'MAD1_PICK_C', 0, 3, 500.0),
    ('MAD1', 'MAD1_PICK_D', 4, 6, 900.0)
) AS t ON r.n BETWEEN t.column3 AND t.column4;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:04:20' AS event_time,
    'MAD1_PICK_D' AS unit_id,
    'NEW' AS label;

-- test: from counters and a level to the event
-- Two paths hold 851 items at 08:00; one takes in 12 a minute, the other passes on what comes. At
-- 08:02:30 they hold 881 and are full in less than 10 minutes; the slot ends at 08:02:40.
-- until: 2026-03-02 08:06:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PICK_TOTAL' AS unit_id,
    'PICK' AS workpool,
    'total' AS unit_type,
    1000.0 AS capacity,
    0.9 AS overflow_on,
    0.8 AS overflow_off,
    10.0 AS horizon_min,
    TRUE AS active;

CREATE VIEW given.path_units AS
SELECT
    'MAD1_PICK_TOTAL' AS unit_id,
    column1 AS path
FROM (VALUES ('A'), ('B'));

CREATE VIEW given.wms_levels AS
SELECT
    'MAD1' AS warehouse,
    'PICK' AS workpool,
    '2026-03-02 08:00:05' AS taken_at,
    column1 AS path,
    column2 AS items
FROM (VALUES ('A', 400), ('B', 451));

CREATE VIEW given.plc_counters AS
SELECT
    'MAD1' AS warehouse,
    'PICK' AS workpool,
    t.column1 AS path,
    1000 + t.column2 * r.n AS in_total,
    600 + t.column3 * r.n AS out_total,
    r.ts AS counted_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 20) AS r
CROSS JOIN (VALUES ('A', 2, 0), ('B', 3, 3)) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:02:59.999999' AS event_time,
    'MAD1_PICK_TOTAL' AS unit_id,
    'NEW' AS label,
    'picking_throttle' AS recommendation,
    0.885 AS fill_ratio;
