CREATE VIEW moving AS
SELECT warehouse, k, ts, x, n,
    sum(x) OVER w AS total, avg(x) OVER w AS mean, min(x) OVER w AS low, max(n) OVER w AS high, count(*) OVER w AS rows,
    regr_slope(x, date_part('epoch', ts)) OVER w AS slope, lag(x) OVER w AS before, lag(n, 2, -1) OVER w AS two_before
FROM a
WINDOW w AS (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW);

INSERT INTO moves SELECT * FROM moving;

INSERT INTO steps
SELECT warehouse, k, ts, x - before AS step,
    max(CASE WHEN x < before THEN ts END) OVER (PARTITION BY warehouse, k ORDER BY ts
        RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) AS fell_at
FROM moving;

INSERT INTO far_moves
SELECT k, c_ts, z, sum(z) OVER w AS total, lag(c_ts) OVER w AS last_at
FROM c WINDOW w AS (PARTITION BY k ORDER BY c_ts RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW);

INSERT INTO trend
SELECT warehouse, t.end - INTERVAL '1 microsecond' AS ends, rows, sum(rows) OVER (PARTITION BY warehouse ORDER BY ends
    RANGE BETWEEN INTERVAL '4 seconds' PRECEDING AND CURRENT ROW) AS lately
FROM (
    SELECT warehouse, t, t.end - INTERVAL '1 microsecond' AS ends, rows FROM (
        SELECT warehouse, tumble(INTERVAL '1 second') AS t, count(*) AS rows FROM a GROUP BY warehouse, tumble(INTERVAL '1 second')
    ) AS g
) AS e;

INSERT INTO joined_moves
SELECT m.warehouse, m.k, m.ts, m.total, b.y
FROM moving AS m ASOF LEFT JOIN b ON m.warehouse = b.warehouse AND m.k = b.k AND m.ts >= b.at_ts AND b.at_ts >= m.ts - INTERVAL '2 seconds';
