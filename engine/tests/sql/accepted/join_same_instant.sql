-- Equal times: an interval of no length.
SELECT a.id, b.y FROM a JOIN b ON a.warehouse = b.warehouse AND b.at_ts = a.ts;

-- expect
--   rows     633
--   columns  id Utf8, y Float64
--   digest   fc1f4105716e2704
