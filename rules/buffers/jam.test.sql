-- rule: buffer_jam
-- A row counts what left in its last 60 s; rows without outflow for 60 s say that of 2 minutes.

CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'path' AS unit_type,
    100.0 AS capacity,
    0.9 AS overflow_on,
    TRUE AS active,
    column1 AS unit_id
FROM (VALUES ('MAD1_SHIP_A'), ('MAD1_SHIP_B'), ('MAD1_SHIP_C'));

-- test: full and nothing leaves for 2 minutes, until something has left for a minute
-- Something left until 08:01:00, and again from 08:05:00 on.
-- until: 2026-03-02 08:11:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    r.ts,
    95.0 AS fill,
    CASE WHEN r.n <= 6 OR r.n >= 30 THEN 1.0 ELSE 0.0 END AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 43) AS r;

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    'emergency' AS severity,
    'clear_jam' AS recommendation,
    5.0 AS quantity,
    'items' AS quantity_unit,
    0.95 AS fill_ratio,
    column1 AS event_time,
    column2 AS label,
    column3 AS seq,
    column4 AS outflow_per_min
FROM (
    VALUES
    ('2026-03-02 08:02:10', 'NEW', 0, 0.0),
    ('2026-03-02 08:06:00', 'CLEARED', 1, 1.0)
);

-- test: full is at the limit or above it
-- until: 2026-03-02 08:07:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    t.column2 AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 19) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A', 90.0), ('MAD1_SHIP_B', 89.0), ('MAD1_SHIP_C', 120.0)) AS t;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    '2026-03-02 08:01:50' AS event_time,
    column1 AS unit_id,
    column2 AS quantity
FROM (VALUES ('MAD1_SHIP_A', 0.0), ('MAD1_SHIP_C', 30.0));

-- test: the first rows do not know 2 minutes yet
-- A counts from 08:00:00 on, B from 08:01:00, C from 08:01:20; the rows end at 08:03:00.
-- until: 2026-03-02 08:07:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    95.0 AS fill,
    CASE WHEN r.n >= t.column2 THEN 0.0 END AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 19) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A', 0), ('MAD1_SHIP_B', 6), ('MAD1_SHIP_C', 8)) AS t;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    column1 AS event_time,
    column2 AS unit_id
FROM (
    VALUES ('2026-03-02 08:01:50', 'MAD1_SHIP_A'), ('2026-03-02 08:02:50', 'MAD1_SHIP_B')
);

-- test: rows that were missing are not known
-- Until 07:57:00 and from 08:00:00 on; the first row after the gap counts its own 10 s.
-- until: 2026-03-02 08:07:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    r.ts,
    95.0 AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 07:56:00', INTERVAL '10 seconds', 43) AS r
WHERE r.n <= 6 OR r.n >= 24;

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    '2026-03-02 08:01:50' AS event_time;

-- test: a slot that is missing does not delay it for longer than the slot
-- No row says 08:01:50. A is told at 08:02:00, when its first row is 2 minutes old. That of B is
-- 121 s old at 08:02:01 and counts no longer, so it is told at 08:02:10, by its second row.
-- until: 2026-03-02 08:06:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    CASE WHEN r.n = 12 THEN r.ts + t.column2 ELSE r.ts END AS ts,
    95.0 AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 14) AS r
CROSS JOIN (
    VALUES ('MAD1_SHIP_A', INTERVAL '0 seconds'), ('MAD1_SHIP_B', INTERVAL '1 second')
) AS t
WHERE r.n NOT IN (1, 11);

CREATE VIEW expect.events AS
SELECT
    'NEW' AS label,
    column1 AS event_time,
    column2 AS unit_id
FROM (
    VALUES ('2026-03-02 08:02:00', 'MAD1_SHIP_A'), ('2026-03-02 08:02:10', 'MAD1_SHIP_B')
);

-- test: it is told at once when a buffer from which nothing leaves becomes full
-- until: 2026-03-02 08:08:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    r.ts,
    70.0 + r.n AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 25) AS r;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:03:20' AS event_time,
    'NEW' AS label,
    0.9 AS fill_ratio;

-- test: it is over when the buffer is no longer full, though nothing leaves
-- A falls below the limit at 08:02:30; B falls to the limit, which is full.
-- until: 2026-03-02 08:09:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    CASE WHEN r.n < 15 THEN 95.0 ELSE t.column2 END AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 30) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A', 89.0), ('MAD1_SHIP_B', 90.0)) AS t;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label
FROM (
    VALUES
    ('2026-03-02 08:01:50', 'MAD1_SHIP_A', 'NEW'),
    ('2026-03-02 08:01:50', 'MAD1_SHIP_B', 'NEW'),
    ('2026-03-02 08:03:30', 'MAD1_SHIP_A', 'CLEARED')
);

-- test: one thing that leaves does not end it
-- until: 2026-03-02 08:09:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    r.ts,
    95.0 AS fill,
    CASE WHEN r.n BETWEEN 15 AND 20 THEN 1.0 ELSE 0.0 END AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 30) AS r;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:01:50' AS event_time,
    'NEW' AS label;

-- test: what is not known fires nothing and ends nothing
-- A has no fill, B no outflow; C loses both in its episode.
-- until: 2026-03-02 08:09:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    CASE WHEN r.n < t.column2 THEN 95.0 END AS fill,
    CASE WHEN r.n < t.column3 THEN 0.0 END AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 30) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A', 0, 30), ('MAD1_SHIP_B', 30, 0), ('MAD1_SHIP_C', 15, 15)) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:01:50' AS event_time,
    'MAD1_SHIP_C' AS unit_id,
    'NEW' AS label;

-- test: without a row for 5 minutes nobody knows, in and out of an episode
-- until: 2026-03-02 08:14:00
CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    t.column2 AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 67) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A', 95.0), ('MAD1_SHIP_B', 50.0)) AS t
WHERE r.n <= 12 OR r.n >= 60;

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS unit_id,
    column3 AS label,
    column4 AS seq
FROM (
    VALUES
    ('2026-03-02 08:01:50', 'MAD1_SHIP_A', 'NEW', 0),
    ('2026-03-02 08:07:00', 'MAD1_SHIP_A', 'NO_DATA', 1),
    ('2026-03-02 08:07:00', 'MAD1_SHIP_B', 'NO_DATA', 0),
    ('2026-03-02 08:10:00', 'MAD1_SHIP_A', 'ONGOING', 2),
    ('2026-03-02 08:10:00', 'MAD1_SHIP_B', 'CLEARED', 1)
);

-- test: a unit that is not active or not known is not judged
-- until: 2026-03-02 08:04:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    100.0 AS capacity,
    0.9 AS overflow_on,
    column1 AS unit_id,
    column2 AS active
FROM (VALUES ('MAD1_SHIP_A', TRUE), ('MAD1_SHIP_B', FALSE));

CREATE VIEW given.buffer_fill AS
SELECT
    'MAD1' AS warehouse,
    t.column1 AS unit_id,
    r.ts,
    95.0 AS fill,
    0.0 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r
CROSS JOIN (VALUES ('MAD1_SHIP_A'), ('MAD1_SHIP_B'), ('MAD1_SHIP_UNKNOWN')) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:01:50' AS event_time,
    'MAD1_SHIP_A' AS unit_id,
    'NEW' AS label;

-- test: what leaves another unit, or the unit of another warehouse, is not this one's
-- until: 2026-03-02 08:04:00
CREATE VIEW given.buffer_fill AS
SELECT
    t.column1 AS warehouse,
    t.column2 AS unit_id,
    r.ts,
    95.0 AS fill,
    t.column3 AS outflow_per_min
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 13) AS r
CROSS JOIN (
    VALUES
    ('MAD1', 'MAD1_SHIP_A', 0.0),
    ('MAD1', 'MAD1_SHIP_B', 8.0),
    ('BCN2', 'MAD1_SHIP_A', 8.0)
) AS t;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:01:50' AS event_time,
    'MAD1' AS warehouse,
    'MAD1_SHIP_A' AS unit_id,
    'NEW' AS label;

-- test: from counters and a level to the event
-- 95 of 100 items; the last one left at 08:01:00, so at 08:02:00 the last 60 s hold nothing. The
-- slot of that row ends at 08:02:10, and 60 s later nothing has left for 2 minutes.
-- until: 2026-03-02 08:07:00
CREATE VIEW given.units AS
SELECT
    'MAD1' AS warehouse,
    'SHIP' AS workpool,
    'MAD1_SHIP_A' AS unit_id,
    100.0 AS capacity,
    0.9 AS overflow_on,
    TRUE AS active;

CREATE VIEW given.path_units AS
SELECT
    'MAD1_SHIP_A' AS unit_id,
    'A' AS path;

CREATE VIEW given.wms_levels AS
SELECT
    'MAD1' AS warehouse,
    'SHIP' AS workpool,
    'A' AS path,
    95 AS items,
    '2026-03-02 08:00:05' AS taken_at;

CREATE VIEW given.plc_counters AS
SELECT
    'MAD1' AS warehouse,
    'SHIP' AS workpool,
    'A' AS path,
    1000 + least(r.n, 6) AS in_total,
    900 + least(r.n, 6) AS out_total,
    r.ts AS counted_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 20) AS r;

CREATE VIEW expect.events AS
SELECT
    '2026-03-02 08:03:09.999999' AS event_time,
    'MAD1_SHIP_A' AS unit_id,
    'NEW' AS label,
    5.0 AS quantity;
