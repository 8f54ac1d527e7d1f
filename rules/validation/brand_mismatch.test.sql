-- rule: brand_mismatch

CREATE VIEW given.stations AS
SELECT
    'MAD1' AS warehouse,
    column1 AS station,
    column2 AS stage,
    column3 AS unit_id
FROM (VALUES ('P1', 'packing', 'MAD1_PACK_A'), ('D1', 'dispatch', 'MAD1_SHIP_A'));

CREATE VIEW given.items AS
SELECT
    column1 AS barcode,
    column2 AS brand
FROM (VALUES ('4006381333931', 'acme'), ('5012345678900', 'bolt'));

-- test: each reason at the packing stage, and nothing for a right parcel
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('wrong', '2026-03-02 08:00:00'),
    ('both', '2026-03-02 08:00:20'),
    ('faint', '2026-03-02 08:00:40'),
    ('empty', '2026-03-02 08:01:00'),
    ('unseen', '2026-03-02 08:01:20'),
    ('right', '2026-03-02 08:01:40')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS captured_at,
    column2 AS frame_id,
    's3://frames/' || column2 AS frame_uri,
    column3 AS brand,
    column4 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:00.5', 'f1', 'bolt', 0.9),
    ('2026-03-02 08:00:20.5', 'f2', 'bolt', 0.8),
    ('2026-03-02 08:00:20.5', 'f2', 'acme', 0.7),
    ('2026-03-02 08:00:40.5', 'f3', 'acme', 0.2),
    ('2026-03-02 08:00:40.5', 'f3', 'bolt', 0.4),
    ('2026-03-02 08:01:00.5', 'f4', NULL, NULL),
    ('2026-03-02 08:01:40.5', 'f6', 'acme', 0.9)
);

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'MAD1_PACK_A' AS unit_id,
    'P1' AS station,
    'packing' AS stage,
    'NEW' AS label,
    'high' AS severity,
    'acme' AS expected_brand,
    '["P1","' || column2 || '"]' AS key,
    column1 AS event_time,
    column2 AS scan_id,
    column3 AS reason,
    column4 AS seen_brand,
    column5 AS right_confidence,
    column6 AS wrong_confidence,
    column7 AS frame_uri
FROM (
    VALUES
    ('2026-03-02 08:00:00', 'wrong', 'mismatch', 'bolt', NULL, 0.9, 's3://frames/f1'),
    ('2026-03-02 08:00:20', 'both', 'mixed', 'bolt', 0.7, 0.8, 's3://frames/f2'),
    ('2026-03-02 08:00:40', 'faint', 'low_confidence', 'bolt', 0.2, 0.4, 's3://frames/f3'),
    ('2026-03-02 08:01:00', 'empty', 'no_detection', NULL, NULL, NULL, 's3://frames/f4'),
    ('2026-03-02 08:01:20', 'unseen', 'camera_silent', NULL, NULL, NULL, NULL)
);

-- test: each reason at the dispatch stage, and nothing for a right parcel
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'D1' AS station,
    '5012345678900' AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('wrong', '2026-03-02 08:00:00'),
    ('both', '2026-03-02 08:00:20'),
    ('faint', '2026-03-02 08:00:40'),
    ('empty', '2026-03-02 08:01:00'),
    ('unseen', '2026-03-02 08:01:20'),
    ('right', '2026-03-02 08:01:40')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'D1' AS station,
    column1 AS captured_at,
    column2 AS frame_id,
    column3 AS brand,
    column4 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:00.5', 'f1', 'acme', 0.9),
    ('2026-03-02 08:00:20.5', 'f2', 'acme', 0.8),
    ('2026-03-02 08:00:20.5', 'f2', 'bolt', 0.7),
    ('2026-03-02 08:00:40.5', 'f3', 'bolt', 0.2),
    ('2026-03-02 08:01:00.5', 'f4', NULL, NULL),
    ('2026-03-02 08:01:40.5', 'f6', 'bolt', 0.9)
);

CREATE VIEW expect.events AS
SELECT
    'MAD1_SHIP_A' AS unit_id,
    'D1' AS station,
    'dispatch' AS stage,
    'bolt' AS expected_brand,
    column1 AS scan_id,
    column2 AS reason,
    column3 AS seen_brand
FROM (
    VALUES
    ('wrong', 'mismatch', 'acme'),
    ('both', 'mixed', 'acme'),
    ('faint', 'low_confidence', NULL),
    ('empty', 'no_detection', NULL),
    ('unseen', 'camera_silent', NULL)
);

-- test: frames count from 2 s before the scan to 3 s after it, both included, and no further
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('2 s before', '2026-03-02 08:00:10'),
    ('3 s after', '2026-03-02 08:00:20'),
    ('more than 2 s before', '2026-03-02 08:00:30'),
    ('more than 3 s after', '2026-03-02 08:00:40')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'acme' AS brand,
    0.9 AS confidence,
    column1 AS captured_at,
    column1 AS frame_id
FROM (
    VALUES
    ('2026-03-02 08:00:08'),
    ('2026-03-02 08:00:23'),
    ('2026-03-02 08:00:27.999999'),
    ('2026-03-02 08:00:43.000001')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (
    VALUES
    ('more than 2 s before', 'camera_silent'),
    ('more than 3 s after', 'camera_silent')
);

-- test: 0.3 is enough for the expected brand, 0.5 for another one
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    'right at ' || column1 || ', wrong at ' || column2 AS scan_id,
    column3 AS scanned_at
FROM (
    VALUES
    ('0.3', 'nothing', '2026-03-02 08:00:00'),
    ('0.299', 'nothing', '2026-03-02 08:00:20'),
    ('nothing', '0.5', '2026-03-02 08:00:40'),
    ('nothing', '0.499', '2026-03-02 08:01:00'),
    ('0.3', '0.5', '2026-03-02 08:01:20'),
    ('0.299', '0.5', '2026-03-02 08:01:40'),
    ('0.3', '0.499', '2026-03-02 08:02:00'),
    ('0.299', '0.499', '2026-03-02 08:02:20')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS captured_at,
    column1 AS frame_id,
    column2 AS brand,
    column3 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:00', 'acme', 0.3),
    ('2026-03-02 08:00:20', 'acme', 0.299),
    ('2026-03-02 08:00:40', 'bolt', 0.5),
    ('2026-03-02 08:01:00', 'bolt', 0.499),
    ('2026-03-02 08:01:20', 'acme', 0.3),
    ('2026-03-02 08:01:20', 'bolt', 0.5),
    ('2026-03-02 08:01:40', 'acme', 0.299),
    ('2026-03-02 08:01:40', 'bolt', 0.5),
    ('2026-03-02 08:02:00', 'acme', 0.3),
    ('2026-03-02 08:02:00', 'bolt', 0.499),
    ('2026-03-02 08:02:20', 'acme', 0.299),
    ('2026-03-02 08:02:20', 'bolt', 0.499)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (
    VALUES
    ('right at 0.299, wrong at nothing', 'low_confidence'),
    ('right at nothing, wrong at 0.5', 'mismatch'),
    ('right at nothing, wrong at 0.499', 'low_confidence'),
    ('right at 0.3, wrong at 0.5', 'mixed'),
    ('right at 0.299, wrong at 0.5', 'mismatch'),
    ('right at 0.299, wrong at 0.499', 'low_confidence')
);

-- test: the best of all frames decides, and an empty frame beside it says nothing
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('better and better', '2026-03-02 08:00:00'),
    ('two wrong ones', '2026-03-02 08:00:20'),
    ('wrong, without a number', '2026-03-02 08:00:40'),
    ('only without a number', '2026-03-02 08:01:00')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS captured_at,
    column2 AS frame_id,
    column2 || '.jpg' AS frame_uri,
    column3 AS brand,
    column4 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:00', 'a1', 'acme', 0.1),
    ('2026-03-02 08:00:01', 'a2', NULL, NULL),
    ('2026-03-02 08:00:02', 'a3', 'acme', 0.35),
    ('2026-03-02 08:00:03', 'a4', 'acme', 0.2),
    ('2026-03-02 08:00:20', 'b1', NULL, NULL),
    ('2026-03-02 08:00:21', 'b2', 'bolt', 0.55),
    ('2026-03-02 08:00:22', 'b3', 'cork', 0.6),
    ('2026-03-02 08:00:23', 'b4', 'bolt', 0.4),
    ('2026-03-02 08:00:40', 'c1', 'bolt', NULL),
    ('2026-03-02 08:00:41', 'c2', 'cork', 0.6),
    ('2026-03-02 08:00:42', 'c3', 'acme', NULL),
    ('2026-03-02 08:01:00', 'd1', 'acme', NULL)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason,
    column3 AS seen_brand,
    column4 AS right_confidence,
    column5 AS wrong_confidence,
    column6 AS frame_uri
FROM (
    VALUES
    ('two wrong ones', 'mismatch', 'cork', NULL, 0.6, 'b3.jpg'),
    ('wrong, without a number', 'mismatch', 'cork', NULL, 0.6, 'c2.jpg'),
    ('only without a number', 'low_confidence', NULL, NULL, NULL, 'd1.jpg')
);

-- test: a second object in the frame, of the expected brand or not
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('two of the right one', '2026-03-02 08:00:00'),
    ('two of a wrong one', '2026-03-02 08:00:20'),
    ('a right and a wrong one', '2026-03-02 08:00:40'),
    ('a right one, then a wrong one', '2026-03-02 08:01:00')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS captured_at,
    column1 AS frame_id,
    column2 AS brand,
    column3 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:00', 'acme', 0.8),
    ('2026-03-02 08:00:00', 'acme', 0.6),
    ('2026-03-02 08:00:20', 'bolt', 0.8),
    ('2026-03-02 08:00:20', 'bolt', 0.6),
    ('2026-03-02 08:00:40', 'acme', 0.95),
    ('2026-03-02 08:00:40', 'bolt', 0.51),
    ('2026-03-02 08:01:00', 'acme', 0.31),
    ('2026-03-02 08:01:02', 'bolt', 0.97)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (
    VALUES
    ('two of a wrong one', 'mismatch'),
    ('a right and a wrong one', 'mixed'),
    ('a right one, then a wrong one', 'mixed')
);

-- test: frames of another station or warehouse are not this scan's
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    column1 AS station,
    '4006381333931' AS barcode,
    column2 AS scan_id,
    '2026-03-02 08:00:00' AS scanned_at
FROM (VALUES ('P1', 's1'), ('D1', 's2'));

CREATE VIEW given.detections AS
SELECT
    column1 AS warehouse,
    column2 AS station,
    'f' AS frame_id,
    'bolt' AS brand,
    0.9 AS confidence,
    '2026-03-02 08:00:01' AS captured_at
FROM (VALUES ('MAD1', 'D1'), ('BCN2', 'P1'));

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (VALUES ('s2', 'mismatch'), ('s1', 'camera_silent'));

-- test: nothing is expected of an unknown barcode, an item without a brand or an unknown station
CREATE VIEW given.items AS
SELECT
    column1 AS barcode,
    column2 AS brand
FROM (VALUES ('4006381333931', 'acme'), ('0036000291452', NULL));

CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    column1 AS scan_id,
    column2 AS station,
    column3 AS barcode,
    '2026-03-02 08:00:00' AS scanned_at
FROM (
    VALUES
    ('known', 'P1', '4006381333931'),
    ('unknown barcode', 'P1', '5012345678900'),
    ('no brand', 'P1', '0036000291452'),
    ('unknown station', 'P9', '4006381333931')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    column1 AS station,
    'f' AS frame_id,
    'bolt' AS brand,
    0.9 AS confidence,
    '2026-03-02 08:00:01' AS captured_at
FROM (VALUES ('P1'), ('P9'));

CREATE VIEW expect.events AS
SELECT
    'known' AS scan_id,
    'mismatch' AS reason;

-- test: one decision a scan, each over its own frames, also where they overlap
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS scan_id,
    column2 AS barcode,
    column3 AS scanned_at
FROM (
    VALUES
    ('first', '4006381333931', '2026-03-02 08:00:00'),
    ('second', '4006381333931', '2026-03-02 08:00:04'),
    ('at once with it', '5012345678900', '2026-03-02 08:00:04')
);

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS captured_at,
    column1 AS frame_id,
    column2 AS brand,
    column3 AS confidence
FROM (
    VALUES
    ('2026-03-02 08:00:01', 'bolt', 0.7),
    ('2026-03-02 08:00:02.5', 'acme', 0.8),
    ('2026-03-02 08:00:05', 'acme', 0.9)
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason,
    column3 AS expected_brand,
    column4 AS wrong_confidence
FROM (
    VALUES
    ('first', 'mixed', 'acme', 0.7),
    ('at once with it', 'mismatch', 'bolt', 0.9)
);

-- test: frames that are missing, that come twice, and that come too late to count
-- All frames around scan 2 show another brand; so do those up to scan 3, but they are late.
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    '4006381333931' AS barcode,
    'scan ' || r.n AS scan_id,
    r.ts AS scanned_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '1 minute', 5) AS r;

CREATE VIEW given.detections AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'frame ' || r.n AS event_id,
    'frame ' || r.n AS frame_id,
    CASE WHEN r.n BETWEEN 240 AND 480 THEN 'bolt' ELSE 'acme' END AS brand,
    0.9 AS confidence,
    r.ts AS captured_at
FROM ramp('2026-03-02 07:59:00', INTERVAL '500 milliseconds', 800) AS r;

CREATE VIEW given.faults AS
SELECT
    column1 AS kind,
    'detections' AS stream,
    column2 AS from_time,
    column3 AS to_time,
    column4 AS by
FROM (
    VALUES
    ('gap', '2026-03-02 08:00:58', '2026-03-02 08:01:03.5', NULL),
    ('duplicate', '2026-03-02 08:01:58', '2026-03-02 08:02:04', NULL),
    ('late', '2026-03-02 08:02:30', '2026-03-02 08:03:03', INTERVAL '1 minute')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS scan_id,
    column3 AS reason
FROM (
    VALUES
    ('2026-03-02 08:01:00', 'scan 1', 'camera_silent'),
    ('2026-03-02 08:02:00', 'scan 2', 'mismatch')
);
