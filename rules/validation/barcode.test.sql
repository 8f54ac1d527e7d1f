-- rule: barcode

CREATE VIEW given.items AS
SELECT column1 AS barcode
FROM (
    VALUES
    ('4006381333931'),
    ('9780201379624'),
    ('8712345098766'),
    ('3609715482032'),
    ('036000291452'),
    ('5012345678901'),
    ('PALLET-17'),
    ('4006381333932')
);

-- test: each reason, and nothing for a good barcode
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    column1 AS scan_id,
    column2 AS barcode,
    column3 AS scanned_at
FROM (
    VALUES
    ('good', '4006381333931', '2026-03-02 08:00:00'),
    ('bad digit', '4006381333930', '2026-03-02 08:00:10'),
    ('not in items', '5012345678900', '2026-03-02 08:00:20'),
    ('once', '9780201379624', '2026-03-02 08:00:30'),
    ('twice', '9780201379624', '2026-03-02 08:00:31')
);

CREATE VIEW expect.events AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'NEW' AS label,
    'medium' AS severity,
    '["P1","' || column2 || '"]' AS key,
    column1 AS event_time,
    column2 AS scan_id,
    column3 AS barcode,
    column4 AS reason
FROM (
    VALUES
    ('2026-03-02 08:00:10', 'bad digit', '4006381333930', 'bad_check_digit'),
    ('2026-03-02 08:00:20', 'not in items', '5012345678900', 'unknown_barcode'),
    ('2026-03-02 08:00:31', 'twice', '9780201379624', 'double_scan')
);

-- test: the first reason that holds is the one: check digit, then unknown, then double
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    column1 AS scan_id,
    column2 AS barcode,
    column3 AS scanned_at
FROM (
    VALUES
    ('bad, unknown', '4006381333930', '2026-03-02 08:00:00'),
    ('bad, unknown, double', '4006381333930', '2026-03-02 08:00:01'),
    ('bad, known', '4006381333932', '2026-03-02 08:00:10'),
    ('bad, known, double', '4006381333932', '2026-03-02 08:00:11'),
    ('unknown', '5012345678900', '2026-03-02 08:00:20'),
    ('unknown, double', '5012345678900', '2026-03-02 08:00:21')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (
    VALUES
    ('bad, unknown', 'bad_check_digit'),
    ('bad, unknown, double', 'bad_check_digit'),
    ('bad, known', 'bad_check_digit'),
    ('bad, known, double', 'bad_check_digit'),
    ('unknown', 'unknown_barcode'),
    ('unknown, double', 'unknown_barcode')
);

-- test: EAN13 and UPCA have a length and a check digit, CODE128 and QR have neither
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS symbology,
    column2 AS barcode,
    column1 || ' ' || column2 AS scan_id,
    column3 AS scanned_at
FROM (
    VALUES
    ('EAN13', '4006381333931', '2026-03-02 08:00:00'),
    ('EAN13', '4006381333932', '2026-03-02 08:00:10'),
    ('EAN13', '400638133393', '2026-03-02 08:00:20'),
    ('EAN13', '40063813339310', '2026-03-02 08:00:30'),
    ('EAN13', '400638133393X', '2026-03-02 08:00:40'),
    ('EAN13', 'X006381333931', '2026-03-02 08:00:50'),
    ('EAN13', '', '2026-03-02 08:01:00'),
    ('UPCA', '036000291452', '2026-03-02 08:02:00'),
    ('UPCA', '036000291453', '2026-03-02 08:02:10'),
    ('UPCA', '012345678905', '2026-03-02 08:02:20'),
    ('UPCA', '03600029145', '2026-03-02 08:02:30'),
    ('UPCA', '4006381333931', '2026-03-02 08:02:40'),
    ('CODE128', 'PALLET-17', '2026-03-02 08:03:00'),
    ('CODE128', '5012345678901', '2026-03-02 08:03:10'),
    ('CODE128', 'PALLET-18', '2026-03-02 08:03:20'),
    ('QR', 'PALLET-17', '2026-03-02 08:04:00'),
    ('QR', '4006381333932', '2026-03-02 08:04:10'),
    ('QR', '4006381333930', '2026-03-02 08:04:20')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (
    VALUES
    ('EAN13 4006381333932', 'bad_check_digit'),
    ('EAN13 400638133393', 'bad_check_digit'),
    ('EAN13 40063813339310', 'bad_check_digit'),
    ('EAN13 400638133393X', 'bad_check_digit'),
    ('EAN13 X006381333931', 'bad_check_digit'),
    ('EAN13 ', 'bad_check_digit'),
    ('UPCA 036000291453', 'bad_check_digit'),
    ('UPCA 012345678905', 'unknown_barcode'),
    ('UPCA 03600029145', 'bad_check_digit'),
    ('UPCA 4006381333931', 'bad_check_digit'),
    ('CODE128 PALLET-18', 'unknown_barcode'),
    ('QR 4006381333930', 'unknown_barcode')
);

-- test: a double scan in CODE128 and QR
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    column1 AS symbology,
    column2 AS barcode,
    column3 AS scan_id,
    column4 AS scanned_at
FROM (
    VALUES
    ('CODE128', 'PALLET-17', 'c1', '2026-03-02 08:00:00'),
    ('CODE128', 'PALLET-17', 'c2', '2026-03-02 08:00:01'),
    ('QR', 'PALLET-17', 'q1', '2026-03-02 08:00:10'),
    ('QR', 'PALLET-17', 'q2', '2026-03-02 08:00:11')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    column2 AS reason
FROM (VALUES ('c2', 'double_scan'), ('q2', 'double_scan'));

-- test: codes that differ in all places are good
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    column1 AS barcode,
    column1 AS scan_id,
    column2 AS scanned_at
FROM (
    VALUES
    ('4006381333931', '2026-03-02 08:00:00'),
    ('9780201379624', '2026-03-02 08:00:10'),
    ('8712345098766', '2026-03-02 08:00:20'),
    ('3609715482032', '2026-03-02 08:00:30'),
    ('9058371624906', '2026-03-02 08:00:40')
);

CREATE VIEW expect.events AS
SELECT
    '9058371624906' AS scan_id,
    'unknown_barcode' AS reason;

-- test: a wrong digit is found at each of the 13 places, and two digits that changed places
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    column1 AS barcode,
    column1 AS scan_id,
    '2026-03-02 08:00:00' AS scanned_at
FROM (
    VALUES
    ('9780201379624'),
    ('0780201379624'),
    ('9880201379624'),
    ('9790201379624'),
    ('9781201379624'),
    ('9780301379624'),
    ('9780211379624'),
    ('9780202379624'),
    ('9780201479624'),
    ('9780201389624'),
    ('9780201370624'),
    ('9780201379724'),
    ('9780201379634'),
    ('9780201379625'),
    ('7980201379624')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS scan_id,
    'bad_check_digit' AS reason
FROM (
    VALUES
    ('0780201379624'),
    ('7980201379624'),
    ('9780201370624'),
    ('9780201379625'),
    ('9780201379634'),
    ('9780201379724'),
    ('9780201389624'),
    ('9780201479624'),
    ('9780202379624'),
    ('9780211379624'),
    ('9780301379624'),
    ('9781201379624'),
    ('9790201379624'),
    ('9880201379624')
);

-- test: double is the same barcode at the same station within 2 s, the bound included
CREATE VIEW given.scans AS
SELECT
    'EAN13' AS symbology,
    column1 AS warehouse,
    column2 AS station,
    column3 AS barcode,
    column4 AS scan_id,
    column5 AS scanned_at
FROM (
    VALUES
    ('MAD1', 'P1', '4006381333931', 'a1', '2026-03-02 08:00:00'),
    ('MAD1', 'P1', '4006381333931', 'a2, 2 s after', '2026-03-02 08:00:02'),
    ('MAD1', 'P1', '4006381333931', 'a3, more than 2 s after', '2026-03-02 08:00:04.000001'),
    ('MAD1', 'P1', '4006381333931', 'a4, 1 s after', '2026-03-02 08:00:05'),
    ('MAD1', 'P1', '4006381333931', 'a5, again', '2026-03-02 08:00:06.5'),
    ('MAD1', 'P1', '9780201379624', 'b1', '2026-03-02 08:01:00'),
    ('MAD1', 'P1', '8712345098766', 'b2, another barcode', '2026-03-02 08:01:01'),
    ('MAD1', 'P2', '9780201379624', 'b3, another station', '2026-03-02 08:01:01'),
    ('BCN2', 'P1', '9780201379624', 'b4, another warehouse', '2026-03-02 08:01:01')
);

CREATE VIEW expect.events AS
SELECT
    column1 AS event_time,
    column2 AS scan_id,
    column3 AS reason
FROM (
    VALUES
    ('2026-03-02 08:00:02', 'a2, 2 s after', 'double_scan'),
    ('2026-03-02 08:00:05', 'a4, 1 s after', 'double_scan'),
    ('2026-03-02 08:00:06.5', 'a5, again', 'double_scan')
);

-- test: of two scans at one instant only the second is double
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    '4006381333931' AS barcode,
    column1 AS scan_id,
    '2026-03-02 08:00:00' AS scanned_at
FROM (VALUES ('first'), ('second'));

CREATE VIEW expect.events AS
SELECT
    'second' AS scan_id,
    'double_scan' AS reason;

-- test: a record that was sent twice is one scan
CREATE VIEW given.scans AS
SELECT
    'MAD1' AS warehouse,
    'P1' AS station,
    'EAN13' AS symbology,
    '4006381333931' AS barcode,
    'scanner/1/' || r.n AS event_id,
    'scan ' || r.n AS scan_id,
    r.ts AS scanned_at
FROM ramp('2026-03-02 08:00:00', INTERVAL '10 seconds', 3) AS r;

CREATE VIEW given.faults AS
SELECT
    'duplicate' AS kind,
    'scans' AS stream,
    '2026-03-02 08:00:00' AS from_time,
    '2026-03-02 08:00:15' AS to_time;

CREATE VIEW expect.events AS
SELECT '' AS reason
WHERE FALSE;
