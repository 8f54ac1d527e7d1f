INSERT INTO plain
SELECT warehouse, k, x * 2.0 + 1.0 AS twice, n / (n - 2) AS share, CAST(k AS BIGINT) AS odd, ts FROM a WHERE x > 0.25 OR k IS NULL;

INSERT INTO first_columns SELECT event_id, warehouse FROM a;

INSERT INTO tumbles
SELECT warehouse, k, w.start AS starts, w.end AS ends, rows, total, mean, low, high, kinds, spread, first, last, some
FROM (
    SELECT warehouse, k, tumble(INTERVAL '2 seconds') AS w, count(*) AS rows, sum(x) AS total, avg(x) AS mean, min(x) AS low,
        max(n) AS high, count(DISTINCT n) AS kinds, stddev(x) AS spread, first_value(x ORDER BY ts) AS first,
        last_value(n ORDER BY ts) AS last, sum(n) FILTER (WHERE x > 1.0) AS some
    FROM a GROUP BY warehouse, k, tumble(INTERVAL '2 seconds')
) AS t;

INSERT INTO hops
SELECT k, w.end AS ends, rows, total, mean, last
FROM (
    SELECT k, hop(INTERVAL '1 second', INTERVAL '3 seconds') AS w, count(x) AS rows, sum(x) AS total, avg(n) AS mean,
        last_value(x ORDER BY ts) AS last
    FROM a GROUP BY k, hop(INTERVAL '1 second', INTERVAL '3 seconds')
) AS t;

INSERT INTO instants SELECT warehouse, ts, count(*) AS rows, sum(n) AS total, max(x) AS high FROM a GROUP BY warehouse, ts;

INSERT INTO far_instants SELECT k, c_ts, count(*) AS rows, sum(z) AS total, min(z) AS low FROM c GROUP BY k, c_ts HAVING sum(z) > 0;

INSERT INTO windows_of_windows
SELECT warehouse, v.end AS ends, keys, total, most
FROM (
    SELECT warehouse, tumble(INTERVAL '6 seconds') AS v, count(*) AS keys, sum(total) AS total, max(rows) AS most
    FROM (
        SELECT warehouse, k, tumble(INTERVAL '2 seconds') AS w, count(*) AS rows, sum(x) AS total
        FROM a GROUP BY warehouse, k, tumble(INTERVAL '2 seconds')
    ) AS inner_rows
    GROUP BY warehouse, tumble(INTERVAL '6 seconds')
) AS outer_rows;

INSERT INTO both
SELECT warehouse, k, ts, x AS value FROM a WHERE n > 0 UNION ALL SELECT warehouse, k, ts, CAST(n AS DOUBLE) AS value FROM a;

INSERT INTO united
SELECT warehouse, u.end AS ends, rows, total
FROM (
    SELECT warehouse, tumble(INTERVAL '1 second') AS u, count(*) AS rows, sum(value) AS total
    FROM (
        SELECT warehouse, ts, x AS value FROM a UNION ALL SELECT warehouse, at_ts AS ts, y AS value FROM b
    ) AS both_streams
    GROUP BY warehouse, tumble(INTERVAL '1 second')
) AS g;
