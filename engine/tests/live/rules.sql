CREATE RULE mismatch WITH (kind = 'event', key = 'k', severity = 'medium') AS
SELECT a.warehouse, a.k, a.ts AS event_time, 'missing' AS reason, a.x AS quantity, a.event_id
FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second'
WHERE b.event_id IS NULL;

CREATE RULE high WITH (kind = 'condition', key = 'k', fire_after = '1 second', clear_after = '2 seconds', no_data = '5 seconds') AS
SELECT warehouse, k, ts AS event_time, x > 1.0 AS fire, x < 0.3 AS clear,
    CASE WHEN n > 2 THEN 'high' ELSE 'low' END AS severity, 'slow_down' AS recommendation, x * 10.0 AS quantity, 'items/min' AS quantity_unit
FROM a;

CREATE RULE at_once WITH (kind = 'condition', key = 'unit_id') AS
SELECT f.warehouse, m.unit_id, f.ends AS event_time, sum(f.total) > 2.0 AS fire, s.members AS size
FROM (
    SELECT warehouse, k, t.end - INTERVAL '1 microsecond' AS ends, total FROM (
        SELECT warehouse, k, hop(INTERVAL '500 milliseconds', INTERVAL '1 second') AS t, sum(x) AS total
        FROM a GROUP BY warehouse, k, hop(INTERVAL '500 milliseconds', INTERVAL '1 second')
    ) AS g
) AS f
JOIN members AS m ON f.k = m.k JOIN unit_sizes AS s ON m.unit_id = s.unit_id
GROUP BY f.warehouse, m.unit_id, f.ends, s.members;

CREATE RULE slow WITH (kind = 'condition', key = 'k', fire_after = '500 milliseconds', no_data = '3 seconds', severity = 'low') AS
SELECT warehouse, k, event_time, rows < 2 AS fire, rows > 3 AS clear FROM (
    SELECT max(warehouse) AS warehouse, k, c_ts AS event_time, count(*) AS rows FROM c GROUP BY k, c_ts
) AS q;

CREATE RULE repeats WITH (kind = 'event', key = 'k, reason', severity = 'low') AS
SELECT warehouse, k, ts AS event_time, 'again' AS reason, count(*) OVER (PARTITION BY warehouse, k ORDER BY ts
    RANGE BETWEEN INTERVAL '400 milliseconds' PRECEDING AND CURRENT ROW) AS times FROM a
UNION ALL
SELECT warehouse, k, ts AS event_time, 'seen' AS reason, 1 AS times FROM a WHERE n > 3;
