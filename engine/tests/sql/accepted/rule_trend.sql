-- A condition by a trend, its clear NULL where the trend is unknown.
CREATE RULE trend WITH (kind = 'condition', key = 'k', severity = 'high', clear_after = '1 second', no_data = '5 seconds') AS
WITH m AS (
    SELECT warehouse, k, ts, x, regr_slope(x, extract(EPOCH FROM ts)) OVER w AS slope, lag(x) OVER w AS x_before FROM a
    WINDOW w AS (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW)
)

SELECT warehouse, k, ts AS event_time, slope > 0.5 AS fire, slope < 0.0 AS clear,
    CASE WHEN x > x_before THEN 'slow_down' ELSE 'watch' END AS recommendation, slope AS quantity, 'items/s' AS quantity_unit
FROM m;

-- expect
--   rows     4639
--   columns  warehouse Utf8, k Utf8, event_time Timestamp(µs), fire Boolean, clear Boolean, recommendation Utf8, quantity Float64, quantity_unit Utf8
--   digest   c69f47495a7d505e
