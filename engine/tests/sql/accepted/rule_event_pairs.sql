-- A rule of single events over a join; equal events are numbered.
CREATE RULE pairs WITH (kind = 'event', key = 'k', severity = 'low') AS
SELECT a.warehouse, a.k, b.at_ts AS event_time, CASE WHEN b.y > a.x THEN 'more' ELSE 'less' END AS reason, a.id, b.y
FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '2 seconds';

-- expect
--   rows     1563
--   columns  warehouse Utf8, k Utf8, event_time Timestamp(µs), reason Utf8, id Utf8, y Float64
--   digest   63ef3782c0607995
