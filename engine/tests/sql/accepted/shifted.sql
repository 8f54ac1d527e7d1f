-- Event time plus a constant stays event time.
SELECT warehouse, later, count(*) AS c FROM (SELECT warehouse, ts + INTERVAL '3 seconds' AS later, x FROM a) AS q
    GROUP BY warehouse, later;

-- expect
--   rows     3938
--   columns  warehouse Utf8, later Timestamp(µs), c Int64
--   digest   40de85d2ff9dceb8
