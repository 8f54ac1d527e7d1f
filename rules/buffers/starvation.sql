-- Running empty while people are at work: raise the inflow, or, where inflow is there and people
-- are not, add stations. Silent while nobody is planned or at work.

CREATE RULE buffer_starvation
WITH (
    kind = 'condition',
    key = 'unit_id',
    severity = 'medium',
    fire_after = '20 seconds',
    clear_after = '2 minutes',
    suppress = '15 minutes',
    no_data = '5 minutes',
    owner = 'flow-control'
) AS
WITH judged AS (
    SELECT
        f.warehouse,
        f.unit_id,
        f.ts,
        f.fill,
        f.inflow_per_min,
        f.outflow_per_min,
        f.active_stations,
        f.planned_stations,
        u.capacity,
        u.starve_on,
        u.starve_off,
        f.fill / u.capacity AS fill_ratio,
        coalesce(f.active_stations, 0) > 0 AND coalesce(f.planned_stations, 0) > 0 AS staffed,
        f.active_stations < f.planned_stations
        AND f.inflow_per_min > 0 AND f.inflow_per_min >= f.outflow_per_min AS short_of_people
    FROM buffer_fill AS f
    INNER JOIN units AS u ON f.unit_id = u.unit_id
    WHERE u.active
)

SELECT
    warehouse,
    unit_id,
    ts AS event_time,
    fill_ratio,
    inflow_per_min,
    outflow_per_min,
    active_stations,
    planned_stations,
    fill_ratio <= starve_on AND staffed AS fire,
    fill_ratio > starve_off OR NOT staffed AS clear,
    CASE WHEN short_of_people THEN 'add_stations' ELSE 'raise_inflow' END AS recommendation,
    CASE
        WHEN short_of_people THEN cast(planned_stations - active_stations AS DOUBLE)
        ELSE starve_off * capacity - fill
    END AS quantity,
    CASE WHEN short_of_people THEN 'people' ELSE 'items' END AS quantity_unit
FROM judged;
