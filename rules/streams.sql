-- What the floor says. Each record has event_id = device/boot_id/seq; the message key is the warehouse.
-- Agents and adapters send a heartbeat into each of their topics every second.

CREATE TABLE scans (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    station TEXT NOT NULL,
    scan_id TEXT NOT NULL,
    barcode TEXT NOT NULL,
    symbology TEXT NOT NULL,
    scanned_at TIMESTAMP NOT NULL,
    parcel_id TEXT,
    order_id TEXT,
    method TEXT,
    read_count BIGINT,
    WATERMARK FOR scanned_at AS scanned_at - INTERVAL '1 second'
) WITH (
    type = 'source', topic = 'scans', format = 'json', idle_after = INTERVAL '5 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

-- Written by devices that detect, or by detect.sql. No idle_after: a detector that is slow or down makes its
-- readers wait, never its rows late; its heartbeats say how far it is. One kind of writer a warehouse: where
-- some of its devices detect, their rows move the partition's watermark, so a detector that is down would
-- make its stations' rows late. detect.sql has the same columns.
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
    model_sha256 TEXT,
    WATERMARK FOR captured_at AS captured_at - INTERVAL '3 seconds'
) WITH (
    type = 'source', topic = 'detections', format = 'json',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

CREATE TABLE device_health (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    station TEXT NOT NULL,
    kind TEXT NOT NULL,
    sent_at TIMESTAMP NOT NULL,
    fw_version TEXT,
    model_sha256 TEXT,
    temp_c DOUBLE,
    disk_free BIGINT,
    spool_records BIGINT,
    spool_oldest_s DOUBLE,
    spool_gone BIGINT,
    spool_in_memory BOOLEAN,
    clock_offset_ms BIGINT,
    clock_synced BOOLEAN,
    fps DOUBLE,
    stalls BIGINT,
    battery_pct DOUBLE,
    memory_kb BIGINT,
    part TEXT,
    trouble TEXT,
    WATERMARK FOR sent_at AS sent_at - INTERVAL '5 seconds'
) WITH (
    type = 'source', topic = 'device_health', format = 'json', idle_after = INTERVAL '15 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

CREATE TABLE wms_levels (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    workpool TEXT NOT NULL,
    path TEXT NOT NULL,
    items BIGINT NOT NULL,
    taken_at TIMESTAMP NOT NULL,
    WATERMARK FOR taken_at AS taken_at - INTERVAL '5 seconds'
) WITH (
    type = 'source', topic = 'wms_levels', format = 'json', idle_after = INTERVAL '10 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

CREATE TABLE plc_counters (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    workpool TEXT NOT NULL,
    path TEXT NOT NULL,
    in_total BIGINT NOT NULL,
    out_total BIGINT NOT NULL,
    counted_at TIMESTAMP NOT NULL,
    WATERMARK FOR counted_at AS counted_at - INTERVAL '5 seconds'
) WITH (
    type = 'source', topic = 'plc_counters', format = 'json', idle_after = INTERVAL '15 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);

CREATE TABLE labor_staffing (
    event_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    device TEXT NOT NULL,
    workpool TEXT NOT NULL,
    active_stations BIGINT NOT NULL,
    planned_stations BIGINT NOT NULL,
    rated_per_min DOUBLE,
    at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '5 seconds'
) WITH (
    type = 'source', topic = 'labor_staffing', format = 'json', idle_after = INTERVAL '10 seconds',
    dedup = 'event_id', dedup_within = INTERVAL '10 minutes'
)
PARTITIONED BY (warehouse);
