-- program: the detector, by itself (weir run rules/detect.sql, or --beside rules/detect.sql).
-- One row for each brand mark in a frame, one with brand NULL for a frame in which none was found.
-- Frames that cannot be read are in detections.rejected.
-- One kind of writer of detections a warehouse: beside devices that detect, whose rows move the partition's
-- watermark, rows that come after this detector was down are late. So either all its devices detect or none.

CREATE TABLE frames (
    event_id TEXT NOT NULL METADATA FROM 'header.event_id',
    warehouse TEXT NOT NULL METADATA FROM 'header.warehouse',
    device TEXT NOT NULL METADATA FROM 'header.device',
    station TEXT NOT NULL METADATA FROM 'header.station',
    frame_id TEXT NOT NULL METADATA FROM 'header.frame_id',
    frame_uri TEXT METADATA FROM 'header.frame_uri',
    captured_at TIMESTAMP NOT NULL METADATA FROM 'header.captured_at',
    width BIGINT METADATA FROM 'header.width',
    height BIGINT METADATA FROM 'header.height',
    "trigger" TEXT METADATA FROM 'header.trigger',
    clock_synced BOOLEAN METADATA FROM 'header.clock_synced',
    image BYTEA,
    WATERMARK FOR captured_at AS captured_at - INTERVAL '2 seconds'
) WITH (
    type = 'source', topic = 'frames', format = 'raw_bytes', idle_after = INTERVAL '5 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

-- The columns of streams.sql.
CREATE TABLE detections (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    station TEXT NOT NULL,
    frame_id TEXT NOT NULL,
    frame_uri TEXT,
    captured_at TIMESTAMP NOT NULL,
    brand TEXT,
    confidence DOUBLE,
    x1 DOUBLE,
    y1 DOUBLE,
    x2 DOUBLE,
    y2 DOUBLE,
    model TEXT,
    model_sha256 TEXT
) WITH (type = 'sink', topic = 'detections', format = 'json');

INSERT INTO detections
SELECT
    f.event_id || '/' || coalesce(d.ordinality, 0) AS event_id,
    f.warehouse,
    f.device,
    f.station,
    f.frame_id,
    f.frame_uri,
    f.captured_at,
    d.label AS brand,
    d.confidence,
    d.x1,
    d.y1,
    d.x2,
    d.y2,
    'weir-floor' AS model,
    model_sha256('weir-floor') AS model_sha256
FROM frames AS f
LEFT JOIN
    UNNEST(detect(f.image, 'weir-floor', f.frame_uri)) WITH ORDINALITY AS d
    ON d.label NOT IN ('parcel', 'barcode');
