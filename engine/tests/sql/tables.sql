-- What every query of the text suite and the program of law 1 stand on.

CREATE TABLE a (warehouse TEXT NOT NULL, id TEXT NOT NULL, k TEXT, n BIGINT, x DOUBLE, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds')
WITH (connector = 'memory', type = 'source', dedup = 'id', dedup_within = INTERVAL '1 minute', append_time = 'producer')
PARTITIONED BY (warehouse);

CREATE TABLE b (warehouse TEXT NOT NULL, k TEXT, y DOUBLE, at_ts TIMESTAMP NOT NULL,
  WATERMARK FOR at_ts AS at_ts - INTERVAL '3 seconds')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);

CREATE TABLE r (k TEXT NOT NULL, v DOUBLE, g TEXT, PRIMARY KEY (k)) WITH (connector = 'reference');

CREATE VIEW g_sizes AS SELECT g, count(*) AS members FROM r GROUP BY g;

CREATE VIEW moving AS
SELECT warehouse, k, ts, n, x,
  lag(x, 1, -1.0) OVER w AS x_before,
  sum(coalesce(x, CAST(k AS DOUBLE))) OVER w AS x_sum, avg(x) OVER w AS x_avg, max(n) OVER w AS n_max, count(*) OVER w AS rows_in,
  regr_slope(x, date_part('epoch', ts)) OVER w AS slope
FROM a
WINDOW w AS (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW);

CREATE VIEW votes AS
SELECT a.warehouse, a.id, a.k, a.ts, count(b.y) AS votes, max(b.y) AS best,
  last_value(b.y ORDER BY b.at_ts) AS latest
FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
  AND b.at_ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts + INTERVAL '3 seconds'
GROUP BY a.warehouse, a.id, a.k, a.ts;

CREATE TABLE labels (k TEXT, label TEXT);
INSERT INTO labels VALUES ('k0', 'zero'), ('k0', 'nought'), ('k1', 'one'), ('k2', NULL);
