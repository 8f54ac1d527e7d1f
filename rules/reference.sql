-- Versioned reference data: a join to one of these tables is as of the stream row's event time.

CREATE TABLE warehouses (
    warehouse TEXT NOT NULL,
    name TEXT,
    time_zone TEXT,
    active BOOLEAN,
    PRIMARY KEY (warehouse)
) WITH (connector = 'reference');

CREATE TABLE stations (
    station TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    stage TEXT,
    unit_id TEXT,
    camera TEXT,
    scanner TEXT,
    PRIMARY KEY (station)
) WITH (connector = 'reference');

CREATE TABLE items (
    barcode TEXT NOT NULL,
    sku TEXT,
    brand TEXT,
    name TEXT,
    PRIMARY KEY (barcode)
) WITH (connector = 'reference');

CREATE TABLE workpools (
    workpool TEXT NOT NULL,
    name TEXT,
    PRIMARY KEY (workpool)
) WITH (connector = 'reference');

CREATE TABLE paths (
    path TEXT NOT NULL,
    workpool TEXT,
    warehouse TEXT NOT NULL,
    upstream_path TEXT,
    PRIMARY KEY (path)
) WITH (connector = 'reference');

CREATE TABLE units (
    unit_id TEXT NOT NULL,
    warehouse TEXT NOT NULL,
    workpool TEXT NOT NULL,
    path TEXT,
    unit_type TEXT NOT NULL,
    capacity DOUBLE NOT NULL,
    overflow_on DOUBLE NOT NULL,
    overflow_off DOUBLE NOT NULL,
    starve_on DOUBLE NOT NULL,
    starve_off DOUBLE NOT NULL,
    horizon_min DOUBLE NOT NULL,
    active BOOLEAN NOT NULL,
    PRIMARY KEY (unit_id)
) WITH (connector = 'reference');

CREATE TABLE path_units (
    path TEXT NOT NULL,
    unit_id TEXT NOT NULL,
    PRIMARY KEY (path, unit_id)
) WITH (connector = 'reference');

CREATE TABLE unit_contains (
    outer_id TEXT NOT NULL,
    inner_id TEXT NOT NULL,
    PRIMARY KEY (outer_id, inner_id)
) WITH (connector = 'reference');

CREATE TABLE shifts (
    warehouse TEXT NOT NULL,
    workpool TEXT NOT NULL,
    weekday BIGINT NOT NULL,
    starts TEXT NOT NULL,
    ends TEXT NOT NULL,
    PRIMARY KEY (warehouse, workpool, weekday, starts)
) WITH (connector = 'reference');

CREATE TABLE actions (
    action TEXT NOT NULL,
    unit_types TEXT,
    suppress TEXT,
    audience TEXT,
    PRIMARY KEY (action)
) WITH (connector = 'reference');

CREATE TABLE conflicts (
    winner_action TEXT NOT NULL,
    loser_action TEXT NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (winner_action, loser_action)
) WITH (connector = 'reference');
