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
        first_value(d.brand ORDER BY d.confidence DESC) FILTER (WHERE d.brand != i.brand) AS wrong,
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

CREATE RULE buffer_overflow
WITH (
    kind = 'condition',
    key = 'unit_id',
    severity = 'high',
    fire_after = '20 seconds',
    clear_after = '3 minutes',
    suppress = '20 minutes',
    no_data = '5 minutes',
    owner = 'flow-control'
) AS
WITH trend AS (
    SELECT
        f.warehouse,
        f.unit_id,
        f.ts,
        f.fill,
        u.unit_type,
        u.capacity,
        u.overflow_on,
        u.overflow_off,
        u.horizon_min,
        f.fill / u.capacity AS fill_ratio,
        regr_slope(f.fill, extract(EPOCH FROM f.ts) / 60.0) OVER (
            PARTITION BY f.warehouse, f.unit_id
            ORDER BY f.ts
            RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW
        ) AS items_per_min
    FROM buffer_fill AS f
    INNER JOIN units AS u ON f.unit_id = u.unit_id
    WHERE u.active
),

projected AS (
    SELECT
        *,
        CASE
            WHEN items_per_min > 0.5 THEN (capacity - fill) / items_per_min
        END AS minutes_to_overflow
    FROM trend
)

SELECT
    warehouse,
    unit_id,
    ts AS event_time,
    fill_ratio,
    items_per_min,
    minutes_to_overflow,
    fill_ratio >= overflow_on
    OR (fill_ratio >= 0.6 AND coalesce(minutes_to_overflow <= horizon_min, FALSE)) AS fire,
    fill_ratio < overflow_off
    AND coalesce(minutes_to_overflow > 2 * horizon_min, TRUE) AS clear,
    CASE unit_type
        WHEN 'total' THEN 'picking_throttle'
        WHEN 'induct' THEN 'induct_throttle'
        ELSE 'throttle_inflow'
    END AS recommendation,
    greatest(0.0, items_per_min - (overflow_off * capacity - fill) / horizon_min) AS quantity,
    'items/min' AS quantity_unit
FROM projected;

CREATE RULE buffer_starvation
WITH (
    kind = 'condition',
    key = 'unit_id',
    severity = 'medium',
    fire_after = '20 seconds',
    clear_after = '2 minutes',
    suppress = '15 minutes',
    no_data = '5 minutes',
    owner = 'flow-control'
) AS
SELECT
    f.warehouse,
    f.unit_id,
    f.ts AS event_time,
    f.fill / u.capacity AS fill_ratio,
    f.fill / u.capacity <= u.starve_on AND f.active_stations > 0 AS fire,
    f.fill / u.capacity > u.starve_off OR f.active_stations = 0 AS clear,
    'raise_inflow' AS recommendation,
    u.starve_off * u.capacity - f.fill AS quantity,
    'items' AS quantity_unit
FROM buffer_fill AS f
INNER JOIN units AS u ON f.unit_id = u.unit_id
WHERE u.active;
