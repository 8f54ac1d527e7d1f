-- Per unit and 10 s: the one time series that buffer rules, console and backtest read.

CREATE VIEW unit_paths AS   -- versioned: over reference tables only
SELECT
    unit_id,
    count(*) AS paths_expected
FROM path_units
GROUP BY unit_id;

CREATE VIEW buffer_fill AS
WITH s AS (
    SELECT
        f.warehouse,
        m.unit_id,
        u.workpool,
        f.ts,
        n.paths_expected,
        count(f.fill) AS paths_seen,
        CASE WHEN count(f.fill) = n.paths_expected THEN sum(f.fill) END AS fill,
        max(f.freshness_s) AS freshness_s,
        CASE max(CASE f.source WHEN 'both' THEN 1 WHEN 'counters' THEN 2 WHEN 'level' THEN 3 END)
            WHEN 1 THEN 'both' WHEN 2 THEN 'counters' WHEN 3 THEN 'level'
        END AS source,
        sum(f.inflow_per_min) AS inflow_per_min,
        sum(f.outflow_per_min) AS outflow_per_min
    FROM path_fill AS f
    INNER JOIN path_units AS m ON f.path = m.path
    INNER JOIN unit_paths AS n ON m.unit_id = n.unit_id
    INNER JOIN units AS u ON m.unit_id = u.unit_id
    GROUP BY f.warehouse, m.unit_id, u.workpool, f.ts, n.paths_expected
)

SELECT
    s.*,
    l.active_stations,
    l.planned_stations
FROM s ASOF LEFT JOIN labor_staffing AS l
    ON
        s.warehouse = l.warehouse AND s.workpool = l.workpool AND s.ts >= l.at_ts
        AND l.at_ts >= s.ts - INTERVAL '5 minutes';
