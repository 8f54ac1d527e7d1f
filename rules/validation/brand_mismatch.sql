-- One decision a scan, by vote over the frames from 2 s before it to 3 s after: another brand, a
-- mix, too little seen, nothing in the frames, or no frame at all. Right parcels are silent.

CREATE RULE brand_mismatch
WITH (
    kind = 'event',
    key = 'station, scan_id',
    severity = 'high',
    inhibited_by = 'camera_silent, device_silent',
    owner = 'packing-quality',
    runbook = 'runbooks/brand_mismatch.md'
) AS
WITH votes AS (
    SELECT
        s.warehouse,
        s.station,
        s.scan_id,
        s.scanned_at,
        st.unit_id,
        st.stage,
        i.brand AS expected_brand,
        count(d.frame_id) AS frame_rows,
        count(d.brand) AS objects_seen,
        max(d.confidence) FILTER (WHERE d.brand = i.brand) AS right_confidence,
        max(d.confidence) FILTER (WHERE d.brand != i.brand) AS wrong_confidence,
        first_value(d.brand ORDER BY d.confidence DESC NULLS LAST)
        FILTER (WHERE d.brand != i.brand) AS wrong,
        first_value(d.frame_uri ORDER BY d.confidence DESC NULLS LAST) AS frame_uri
    FROM scans AS s
    INNER JOIN stations AS st ON s.station = st.station
    INNER JOIN items AS i ON s.barcode = i.barcode
    LEFT JOIN detections AS d
        ON
            s.warehouse = d.warehouse
            AND s.station = d.station
            AND d.captured_at BETWEEN s.scanned_at - INTERVAL '2 seconds'
            AND s.scanned_at + INTERVAL '3 seconds'
    WHERE i.brand IS NOT NULL
    GROUP BY s.warehouse, s.station, s.scan_id, s.scanned_at, st.unit_id, st.stage, i.brand
),

judged AS (
    SELECT
        *,
        CASE
            WHEN frame_rows = 0 THEN 'camera_silent'
            WHEN objects_seen = 0 THEN 'no_detection'
            WHEN wrong_confidence >= 0.5 AND right_confidence >= 0.3 THEN 'mixed'
            WHEN wrong_confidence >= 0.5 THEN 'mismatch'
            WHEN coalesce(right_confidence, 0.0) < 0.3 THEN 'low_confidence'
        END AS reason
    FROM votes
)

SELECT
    warehouse,
    unit_id,
    station,
    scan_id,
    scanned_at AS event_time,
    stage,
    expected_brand,
    wrong AS seen_brand,
    right_confidence,
    wrong_confidence,
    frame_uri,
    reason
FROM judged
WHERE reason IS NOT NULL;
