-- Per path and 10 s slot: the level told by the WMS, carried on by the PLC's counters.
-- State: 30 minutes of rows a path.

CREATE VIEW plc_runs AS
WITH s AS (
    SELECT
        *,
        lag(in_total) OVER w AS in_before,
        lag(out_total) OVER w AS out_before
    FROM plc_counters
    WINDOW w AS (
        PARTITION BY warehouse, path ORDER BY counted_at
        RANGE BETWEEN INTERVAL '30 minutes' PRECEDING AND CURRENT ROW
    )
)

SELECT
    warehouse,
    workpool,
    path,
    counted_at,
    in_total,
    out_total,
    CASE WHEN in_total >= in_before AND out_total >= out_before THEN in_total - in_before END
        AS in_step,
    CASE WHEN in_total >= in_before AND out_total >= out_before THEN out_total - out_before END
        AS out_step,
    max(CASE WHEN in_total < in_before OR out_total < out_before THEN counted_at END) OVER (
        PARTITION BY warehouse, path ORDER BY counted_at
        RANGE BETWEEN INTERVAL '30 minutes' PRECEDING AND CURRENT ROW
    ) AS reset_at
FROM s;

CREATE VIEW level_marks AS
WITH m AS (
    SELECT
        l.warehouse,
        l.path,
        l.items,
        l.taken_at,
        c.in_total AS in_at,
        c.out_total AS out_at,
        c.reset_at
    FROM wms_levels AS l ASOF LEFT JOIN plc_runs AS c
        ON
            l.warehouse = c.warehouse AND l.path = c.path AND l.taken_at >= c.counted_at
            AND c.counted_at >= l.taken_at - INTERVAL '60 seconds'
),

p AS (
    SELECT
        *,
        lag(taken_at) OVER w AS last_at,
        lag(items) OVER w AS last_items,
        lag(in_at) OVER w AS last_in,
        lag(out_at) OVER w AS last_out
    FROM m
    WINDOW w AS (
        PARTITION BY warehouse, path ORDER BY taken_at
        RANGE BETWEEN INTERVAL '30 minutes' PRECEDING AND CURRENT ROW
    )
)

SELECT
    warehouse,
    path,
    items,
    taken_at,
    in_at,
    out_at,
    CASE
        WHEN NOT coalesce(reset_at > last_at, FALSE)
            THEN last_items + (in_at - last_in) - (out_at - last_out) - items
    END AS disagreement
FROM p;

CREATE VIEW path_rows AS
WITH j AS (
    SELECT
        c.*,
        a.items,
        a.taken_at,
        a.in_at,
        a.out_at,
        a.disagreement,
        a.in_at IS NULL OR coalesce(c.reset_at > a.taken_at, FALSE) AS lost,
        a.taken_at >= c.counted_at - INTERVAL '6 minutes' AS fresh
    FROM plc_runs AS c ASOF LEFT JOIN level_marks AS a
        ON
            c.warehouse = a.warehouse AND c.path = a.path AND c.counted_at >= a.taken_at
            AND a.taken_at >= c.counted_at - INTERVAL '30 minutes'
)

SELECT
    warehouse,
    workpool,
    path,
    counted_at,
    taken_at,
    disagreement,
    CASE
        WHEN NOT lost THEN items + (in_total - in_at) - (out_total - out_at)
        WHEN fresh THEN items
    END AS fill,
    CASE
        WHEN items IS NULL THEN NULL WHEN lost THEN 'level'
        WHEN fresh THEN 'both' ELSE 'counters'
    END AS source,
    sum(in_step) OVER w AS inflow_per_min,
    sum(out_step) OVER w AS outflow_per_min
FROM j
WINDOW w AS (
    PARTITION BY warehouse, path ORDER BY counted_at
    RANGE BETWEEN INTERVAL '50 seconds' PRECEDING AND CURRENT ROW
);

CREATE VIEW path_fill AS
SELECT
    x.warehouse,
    x.workpool,
    x.path,
    slot.end - INTERVAL '1 microsecond' AS ts,
    x.fill,
    x.source,
    date_part('epoch', slot.end) - date_part('epoch', x.taken_at) AS freshness_s,
    x.disagreement,
    x.inflow_per_min,
    x.outflow_per_min
FROM (
    SELECT
        warehouse,
        workpool,
        path,
        hop(INTERVAL '10 seconds', INTERVAL '30 seconds') AS slot,
        last_value(fill ORDER BY counted_at) AS fill,
        last_value(source ORDER BY counted_at) AS source,
        last_value(taken_at ORDER BY counted_at) AS taken_at,
        last_value(disagreement ORDER BY counted_at) AS disagreement,
        last_value(inflow_per_min ORDER BY counted_at) AS inflow_per_min,
        last_value(outflow_per_min ORDER BY counted_at) AS outflow_per_min
    FROM path_rows
    GROUP BY warehouse, workpool, path, hop(INTERVAL '10 seconds', INTERVAL '30 seconds')
) AS x;
