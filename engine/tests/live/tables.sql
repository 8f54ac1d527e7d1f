-- Three streams and three tables beside them; every program of the law tests starts with these.

CREATE TABLE a (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, x DOUBLE, n BIGINT, ts TIMESTAMP NOT NULL,
    WATERMARK FOR ts AS ts - INTERVAL '1 second'
) WITH (
    connector = 'memory', type = 'source', append_time = 'producer',
    dedup = 'event_id', dedup_within = INTERVAL '8 seconds'
) PARTITIONED BY (warehouse);

CREATE TABLE b (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, y DOUBLE, at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '2500 milliseconds'
) WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);

CREATE TABLE c (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, z BIGINT, c_ts TIMESTAMP NOT NULL,
    WATERMARK FOR c_ts
) WITH (
    connector = 'memory', type = 'source', append_time = 'producer',
    dedup = 'event_id', dedup_within = INTERVAL '2 seconds'
) PARTITIONED BY (warehouse);

CREATE TABLE items (k TEXT NOT NULL, grp TEXT, factor DOUBLE, floor BIGINT, PRIMARY KEY (k))
WITH (connector = 'reference');

CREATE TABLE members (k TEXT NOT NULL, unit_id TEXT NOT NULL, PRIMARY KEY (k, unit_id))
WITH (connector = 'reference');

CREATE TABLE names (k TEXT, label TEXT);
INSERT INTO names VALUES ('k0', 'zero'), ('k0', 'zero'), ('k1', 'one'), ('k2', NULL);

CREATE VIEW unit_sizes AS SELECT unit_id, count(*) AS members FROM members GROUP BY unit_id;
