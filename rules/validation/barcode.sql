-- One event a scan: bad check digit, barcode not in items, or the same barcode again within 2 s.

CREATE RULE barcode
WITH (kind = 'event', key = 'station, scan_id', severity = 'medium', owner = 'packing-quality') AS
WITH checked AS (
    SELECT
        s.*,
        i.barcode AS known,
        CASE s.symbology WHEN 'EAN13' THEN s.barcode WHEN 'UPCA' THEN '0' || s.barcode END AS code,
        lag(s.scanned_at) OVER (
            PARTITION BY s.warehouse, s.station, s.barcode ORDER BY s.scanned_at
            RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW
        ) AS scanned_before
    FROM scans AS s LEFT JOIN items AS i ON s.barcode = i.barcode
),

judged AS (
    SELECT
        *,
        CASE
            WHEN code IS NOT NULL AND NOT regexp_like(code, '^[0-9]{13}$') THEN 'bad_check_digit'
            WHEN code IS NOT NULL AND (
                ascii(substr(code, 1, 1)) + ascii(substr(code, 3, 1)) + ascii(substr(code, 5, 1))
                + ascii(substr(code, 7, 1)) + ascii(substr(code, 9, 1)) + ascii(substr(code, 11, 1))
                + ascii(substr(code, 13, 1))
                + 3 * (
                    ascii(substr(code, 2, 1))
                    + ascii(substr(code, 4, 1))
                    + ascii(substr(code, 6, 1))
                    + ascii(substr(code, 8, 1))
                    + ascii(substr(code, 10, 1))
                    + ascii(substr(code, 12, 1))
                )
                - 25 * 48
            ) % 10 != 0 THEN 'bad_check_digit'
            WHEN known IS NULL THEN 'unknown_barcode'
            WHEN scanned_before IS NOT NULL THEN 'double_scan'
        END AS reason
    FROM checked
)

SELECT
    warehouse,
    station,
    scan_id,
    scanned_at AS event_time,
    barcode,
    reason
FROM judged
WHERE reason IS NOT NULL;
