-- Moments and regressions over floats, exact.
SELECT k, slot.end AS ends, v, s, c, g, i FROM (
    SELECT k, hop(INTERVAL '2 seconds', INTERVAL '6 seconds') AS slot, var_samp(x) AS v, stddev_pop(x) AS s, corr(x, n) AS c,
        regr_slope(x, n) AS g, regr_intercept(x, n) AS i
    FROM a GROUP BY k, hop(INTERVAL '2 seconds', INTERVAL '6 seconds')
) AS q;

-- expect
--   rows     3558
--   columns  k Utf8, ends Timestamp(µs), v Float64, s Float64, c Float64, g Float64, i Float64
--   digest   858a31bde1b8ed8b
