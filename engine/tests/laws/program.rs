//! A program with every operator, over two small streams and a reference table.

/// Topics that must have records over all cases, and what must be counted.
pub const OUTPUTS: [&str; 17] = [
    "o_project",
    "o_tumble",
    "o_hop",
    "o_join",
    "o_asof",
    "o_over",
    "o_reference",
    "o_union",
    "o_moving",
    "o_groups",
    "t.events.laws",
    "t.a.late",
    "t.decisions",
    "failed o_project",
    "failed o_hop",
    "failed rising",
    "unknown r",
];

/// Tables and views; the text suite stands on them, too.
pub const TABLES: &str = include_str!("../sql/tables.sql");

/// What is written from them.
pub const OUTPUTS_SQL: &str = "
CREATE TABLE o_project (w TEXT, k TEXT, m DOUBLE, t TIMESTAMP) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_project SELECT warehouse, k, x * 2 + n + coalesce(10 / (n - 1), CAST(k AS BIGINT), 0), ts
FROM a WHERE n % 3 <> 0;

CREATE TABLE o_tumble (w TEXT, k TEXT, e TIMESTAMP, c BIGINT, s DOUBLE, m DOUBLE, f DOUBLE) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_tumble SELECT warehouse, k, slot.end, c, s, m, f FROM (
  SELECT warehouse, k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, sum(x) AS s, stddev(x) AS m,
    first_value(x ORDER BY ts) AS f
  FROM a GROUP BY warehouse, k, tumble(INTERVAL '5 seconds')) AS q;

CREATE TABLE o_hop (k TEXT, s TIMESTAMP, c BIGINT, t DOUBLE, d BIGINT) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_hop SELECT k, slot.start, c, t, d FROM (
  SELECT k, hop(INTERVAL '2 seconds', INTERVAL '7 seconds') AS slot, count(x) AS c, avg(coalesce(x, CAST(k AS DOUBLE))) AS t, count(DISTINCT n) AS d
  FROM a GROUP BY k, hop(INTERVAL '2 seconds', INTERVAL '7 seconds')) AS q;

CREATE TABLE o_join (w TEXT, i TEXT, t TIMESTAMP, v BIGINT, y DOUBLE, z DOUBLE) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_join SELECT warehouse, id, ts, votes, best, latest FROM votes;

CREATE TABLE o_asof (w TEXT, i TEXT, t TIMESTAMP, y DOUBLE, u TIMESTAMP) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_asof SELECT a.warehouse, a.id, a.ts, b.y, b.at_ts FROM a ASOF LEFT JOIN b
  ON a.warehouse = b.warehouse AND a.k = b.k AND a.ts >= b.at_ts AND b.at_ts >= a.ts - INTERVAL '6 seconds';

CREATE TABLE o_over (w TEXT, k TEXT, t TIMESTAMP, p DOUBLE, s DOUBLE, m DOUBLE, c BIGINT, d DOUBLE)
WITH (connector = 'memory', type = 'sink');

INSERT INTO o_over SELECT warehouse, k, ts, x_before, x_sum, x_avg, rows_in + n_max, slope FROM moving;

CREATE TABLE o_reference (w TEXT, i TEXT, v DOUBLE, m BIGINT) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_reference SELECT a.warehouse, a.id, r.v, s.members FROM a
  JOIN r ON a.k = r.k LEFT JOIN g_sizes AS s ON r.g = s.g;

CREATE TABLE o_union (w TEXT, k TEXT, t TIMESTAMP, z DOUBLE) WITH (connector = 'memory', type = 'sink');

INSERT INTO o_union SELECT warehouse, k, ts, x FROM a WHERE x > 5 UNION ALL SELECT warehouse, k, ts, x FROM a WHERE n > 5;

-- Views that tasks need, too, behind exchanges: each runs twice, from a reader each.
CREATE TABLE o_moving (k TEXT, e TIMESTAMP, c BIGINT, s DOUBLE, m DOUBLE) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_moving SELECT k, slot.end, c, s, m FROM (
  SELECT k, tumble(INTERVAL '3 seconds') AS slot, count(*) AS c, sum(x_sum) AS s, max(x_avg) AS m
  FROM moving GROUP BY k, tumble(INTERVAL '3 seconds')) AS q;
CREATE VIEW known AS SELECT a.warehouse, a.id, a.n, a.ts, r.g FROM a JOIN r ON a.k = r.k;
CREATE TABLE o_known (w TEXT, i TEXT, g TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_known SELECT warehouse, id, g FROM known;
CREATE TABLE o_groups (g TEXT, e TIMESTAMP, c BIGINT, n BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_groups SELECT g, slot.end, c, n FROM (
  SELECT g, tumble(INTERVAL '4 seconds') AS slot, count(*) AS c, sum(n) AS n
  FROM known GROUP BY g, tumble(INTERVAL '4 seconds')) AS q;

CREATE RULE odd WITH (kind = 'event', key = 'k', severity = 'low') AS
SELECT warehouse, k, ts AS event_time, CASE WHEN votes = 0 THEN 'unseen' WHEN best > 8 THEN 'high' END AS reason, best
FROM votes WHERE votes = 0 OR best > 8;

CREATE RULE rising WITH (kind = 'condition', key = 'k', severity = 'high', fire_after = '2 seconds', clear_after = '3 seconds',
  no_data = '9 seconds') AS
SELECT warehouse, k, ts AS event_time, x_avg > 5.5 AS fire, x_avg < 4.5 AS clear,
  CASE WHEN slope > 0 THEN 'slow' ELSE 'wait' END AS recommendation, x_sum AS quantity, 'items' AS quantity_unit
FROM moving;
";
