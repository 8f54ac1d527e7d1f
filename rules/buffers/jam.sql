-- Full, and nothing has left for 2 minutes: an emergency, never held back.

CREATE RULE buffer_jam
WITH (
    kind = 'condition',
    key = 'unit_id',
    severity = 'emergency',
    clear_after = '1 minute',
    no_data = '5 minutes',
    owner = 'flow-control'
) AS
WITH still AS (
    SELECT
        f.warehouse,
        f.unit_id,
        f.ts,
        f.fill,
        f.outflow_per_min,
        u.capacity,
        u.overflow_on,
        f.fill / u.capacity AS fill_ratio,
        -- Each row counts the last 60 s, so this covers 2 minutes,
        max(f.outflow_per_min) OVER (
            PARTITION BY f.warehouse, f.unit_id
            ORDER BY f.ts
            RANGE BETWEEN INTERVAL '60 seconds' PRECEDING AND CURRENT ROW
        ) AS most_out_per_min,
        -- if rows reach back that far; the first one counts at least 10 s.
        min(CASE WHEN f.outflow_per_min IS NOT NULL THEN f.ts END) OVER (
            PARTITION BY f.warehouse, f.unit_id
            ORDER BY f.ts
            RANGE BETWEEN INTERVAL '2 minutes' PRECEDING AND CURRENT ROW
        ) AS known_from
    FROM buffer_fill AS f
    INNER JOIN units AS u ON f.unit_id = u.unit_id
    WHERE u.active
)

SELECT
    warehouse,
    unit_id,
    ts AS event_time,
    fill_ratio,
    outflow_per_min,
    fill_ratio >= overflow_on AND most_out_per_min = 0
    AND known_from <= ts - INTERVAL '110 seconds' AS fire,
    outflow_per_min > 0 OR fill_ratio < overflow_on AS clear,
    'clear_jam' AS recommendation,
    fill - overflow_on * capacity AS quantity,
    'items' AS quantity_unit
FROM still;
