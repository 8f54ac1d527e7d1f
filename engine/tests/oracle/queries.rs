//! Further queries over the streams of the laws program: each names an operator or a combination.

/// `(sink, its columns, query)`.
pub const QUERIES: &[(&str, &str, &str)] = &[
    ("q_all", "w TEXT, i TEXT, k TEXT, n BIGINT, x DOUBLE, t TIMESTAMP", "SELECT warehouse, id, k, n, x, ts FROM a"),
    (
        "q_soft",
        "i TEXT, a BIGINT, b BIGINT, c BIGINT, d TEXT",
        "SELECT id, n / (n - 4), n % (n - 2), CAST(k AS BIGINT), upper(coalesce(k, 'none')) FROM a",
    ),
    (
        "q_shifted",
        "w TEXT, t TIMESTAMP, c BIGINT",
        "SELECT warehouse, later, count(*) AS c FROM (SELECT warehouse, ts + INTERVAL '3 seconds' AS later, x FROM a) AS q
         GROUP BY warehouse, later",
    ),
    (
        "q_append_only",
        "k TEXT, t TIMESTAMP, c BIGINT, s DOUBLE, lo DOUBLE, hi BIGINT",
        "SELECT k, ts, count(*), sum(x), min(x), max(n) FROM a GROUP BY k, ts",
    ),
    (
        "q_window_only",
        "s TIMESTAMP, e TIMESTAMP, c BIGINT, v DOUBLE, d DOUBLE",
        "SELECT slot.start, slot.end, c, v, d FROM (SELECT tumble(INTERVAL '3 seconds') AS slot, count(*) AS c,
         var_pop(x) AS v, stddev(x) AS d FROM a GROUP BY tumble(INTERVAL '3 seconds')) AS q",
    ),
    (
        "q_filtered_aggregate",
        "k TEXT, e TIMESTAMP, c BIGINT, s DOUBLE, d BIGINT",
        "SELECT k, slot.end, c, s, d FROM (SELECT k, hop(INTERVAL '3 seconds', INTERVAL '8 seconds') AS slot,
         count(*) FILTER (WHERE n > 3) AS c, sum(x) FILTER (WHERE n % 2 = 0) AS s, count(DISTINCT k) AS d
         FROM a GROUP BY hop(INTERVAL '3 seconds', INTERVAL '8 seconds'), k) AS q",
    ),
    (
        "q_first_last",
        "k TEXT, e TIMESTAMP, f DOUBLE, l DOUBLE, g BIGINT",
        "SELECT k, slot.end, f, l, g FROM (SELECT k, tumble(INTERVAL '4 seconds') AS slot, first_value(x ORDER BY n) AS f,
         last_value(x ORDER BY ts) AS l, first_value(n ORDER BY x DESC) AS g FROM a GROUP BY k, tumble(INTERVAL '4 seconds')) AS q",
    ),
    (
        "q_having",
        "k TEXT, e TIMESTAMP, c BIGINT",
        "SELECT k, slot.end, c FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a
         WHERE x IS NOT NULL GROUP BY k, tumble(INTERVAL '5 seconds') HAVING count(*) > 3) AS q",
    ),
    (
        "q_window_of_window",
        "w TEXT, e TIMESTAMP, m BIGINT, s DOUBLE",
        "SELECT warehouse, slot.end, m, s FROM (SELECT warehouse, tumble(INTERVAL '10 seconds') AS slot, max(c) AS m, sum(s) AS s
         FROM (SELECT warehouse, k, tumble(INTERVAL '2 seconds') AS small, count(*) AS c, sum(x) AS s FROM a
               GROUP BY warehouse, k, tumble(INTERVAL '2 seconds')) AS inner_q
         GROUP BY warehouse, tumble(INTERVAL '10 seconds')) AS q",
    ),
    (
        "q_inner_join",
        "i TEXT, n BIGINT, y DOUBLE, t TIMESTAMP, u TIMESTAMP",
        "SELECT a.id, a.n, b.y, a.ts, b.at_ts FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
         AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '2 seconds'",
    ),
    (
        "q_residual_left",
        "i TEXT, x DOUBLE, y DOUBLE, u TIMESTAMP",
        "SELECT a.id, a.x, b.y, b.at_ts FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k AND b.y > a.x
         AND b.at_ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts",
    ),
    (
        "q_join_ahead",
        "i TEXT, y DOUBLE",
        "SELECT a.id, b.y FROM a JOIN b ON a.k = b.k AND b.at_ts > a.ts + INTERVAL '1 second'
         AND b.at_ts <= a.ts + INTERVAL '3 seconds'",
    ),
    (
        "q_self_join",
        "i TEXT, j TEXT",
        "SELECT p.id, q.id AS other FROM a AS p JOIN a AS q ON p.warehouse = q.warehouse AND p.k = q.k AND p.n = q.n
         AND q.ts BETWEEN p.ts AND p.ts + INTERVAL '4 seconds'",
    ),
    (
        "q_asof_strict",
        "i TEXT, y DOUBLE, u TIMESTAMP",
        "SELECT a.id, b.y, b.at_ts FROM a ASOF JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
         AND a.ts > b.at_ts AND b.at_ts >= a.ts - INTERVAL '4 seconds'",
    ),
    (
        "q_asof_by_key",
        "i TEXT, y DOUBLE",
        "SELECT a.id, b.y FROM a ASOF LEFT JOIN b ON a.k = b.k AND a.ts >= b.at_ts
         AND b.at_ts >= a.ts - INTERVAL '2 seconds'",
    ),
    (
        "q_lags",
        "i TEXT, a DOUBLE, b BIGINT, c TIMESTAMP, d TEXT",
        "SELECT id, lag(x) OVER w, lag(n, 2, 99) OVER w, lag(ts) OVER w, lag(id, 3, 'none') OVER w FROM a
         WINDOW w AS (PARTITION BY warehouse ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW)",
    ),
    (
        "q_over_by_key",
        "i TEXT, s DOUBLE, v DOUBLE, lo DOUBLE, c BIGINT",
        "SELECT id, sum(x) OVER w, stddev(x) OVER w, min(x) OVER w, count(x) OVER w FROM a
         WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '4 seconds' PRECEDING AND CURRENT ROW)",
    ),
    (
        "q_over_two_ranges",
        "i TEXT, s DOUBLE, l BIGINT",
        "SELECT id, avg(x) OVER (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW),
         sum(n) OVER (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND CURRENT ROW) FROM a",
    ),
    (
        "q_over_of_window",
        "k TEXT, e TIMESTAMP, c BIGINT, p BIGINT, s DOUBLE",
        "SELECT k, at, c, lag(c, 1, 0) OVER w, avg(s) OVER w FROM (
           SELECT k, slot.end AS at, c, s FROM (SELECT k, tumble(INTERVAL '2 seconds') AS slot, count(*) AS c, sum(x) AS s
           FROM a GROUP BY k, tumble(INTERVAL '2 seconds')) AS q) AS r
         WINDOW w AS (PARTITION BY k ORDER BY at RANGE BETWEEN INTERVAL '12 seconds' PRECEDING AND CURRENT ROW)",
    ),
    (
        "q_window_of_over",
        "k TEXT, e TIMESTAMP, m DOUBLE, c BIGINT",
        "SELECT k, slot.end, m, c FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, max(x_avg) AS m, sum(rows_in) AS c
         FROM moving GROUP BY k, tumble(INTERVAL '5 seconds')) AS q",
    ),
    (
        "q_reference_residual",
        "i TEXT, v DOUBLE, g TEXT",
        "SELECT a.id, r.v, r.g FROM a LEFT JOIN r ON a.k = r.k AND r.v > a.n",
    ),
    (
        "q_reference_window",
        "g TEXT, e TIMESTAMP, c BIGINT, v DOUBLE",
        "SELECT g, slot.end, c, v FROM (SELECT r.g AS g, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, sum(r.v * a.x) AS v
         FROM a JOIN r ON a.k = r.k GROUP BY r.g, tumble(INTERVAL '5 seconds')) AS q",
    ),
    (
        "q_union_window",
        "k TEXT, e TIMESTAMP, c BIGINT, s DOUBLE",
        "SELECT k, slot.end, c, s FROM (SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, sum(z) AS s FROM (
           SELECT k, ts, x AS z FROM a WHERE x > 3 UNION ALL SELECT k, ts, x * 2 AS z FROM a WHERE n > 3) AS u
         GROUP BY k, tumble(INTERVAL '5 seconds')) AS q",
    ),
    (
        "q_votes_window",
        "w TEXT, e TIMESTAMP, c BIGINT, m DOUBLE",
        "SELECT warehouse, slot.end, c, m FROM (SELECT warehouse, tumble(INTERVAL '5 seconds') AS slot, sum(votes) AS c, max(best) AS m
         FROM votes GROUP BY warehouse, tumble(INTERVAL '5 seconds')) AS q",
    ),
];
