-- A left interval join with a further condition in ON.
SELECT a.id, a.x, b.y, b.at_ts FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k AND b.y > a.x
    AND b.at_ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts;

-- expect
--   rows     4731
--   columns  id Utf8, x Float64, y Float64, at_ts Timestamp(µs)
--   digest   3844525388b0eaf8
