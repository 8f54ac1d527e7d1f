-- Too full, or full within the unit's horizon by the trend of the last 10 minutes; says by how much
-- to throttle, and what to throttle by the unit's type.

CREATE RULE buffer_overflow
WITH (
    kind = 'condition',
    key = 'unit_id',
    severity = 'high',
    fire_after = '20 seconds',
    clear_after = '3 minutes',
    suppress = '20 minutes',
    no_data = '5 minutes',
    owner = 'flow-control'
) AS
WITH trend AS (
    SELECT
        f.warehouse,
        f.unit_id,
        f.ts,
        f.fill,
        u.unit_type,
        u.capacity,
        u.overflow_on,
        u.overflow_off,
        u.horizon_min,
        f.fill / u.capacity AS fill_ratio,
        regr_slope(f.fill, extract(EPOCH FROM f.ts) / 60.0) OVER (
            PARTITION BY f.warehouse, f.unit_id
            ORDER BY f.ts
            RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW
        ) AS items_per_min
    FROM buffer_fill AS f
    INNER JOIN units AS u ON f.unit_id = u.unit_id
    WHERE u.active
),

projected AS (
    SELECT
        *,
        CASE
            WHEN items_per_min > 0.5 THEN (capacity - fill) / items_per_min
        END AS minutes_to_overflow,
        items_per_min - (overflow_off * capacity - fill) / horizon_min AS too_many_per_min
    FROM trend
)

SELECT
    warehouse,
    unit_id,
    ts AS event_time,
    fill_ratio,
    items_per_min,
    minutes_to_overflow,
    fill_ratio >= overflow_on
    OR (fill_ratio >= 0.6 AND coalesce(minutes_to_overflow <= horizon_min, FALSE)) AS fire,
    fill_ratio < overflow_off
    AND coalesce(minutes_to_overflow > 2 * horizon_min, TRUE) AS clear,
    CASE unit_type
        WHEN 'total' THEN 'picking_throttle'
        WHEN 'induct' THEN 'induct_throttle'
        ELSE 'throttle_inflow'
    END AS recommendation,
    CASE WHEN too_many_per_min IS NOT NULL THEN greatest(0.0, too_many_per_min) END AS quantity,
    'items/min' AS quantity_unit
FROM projected;
