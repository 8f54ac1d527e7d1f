-- What has no partner: a left join, and what came out empty.
SELECT a.id, a.ts FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second' WHERE b.at_ts IS NULL;

-- expect
--   rows     3872
--   columns  id Utf8, ts Timestamp(µs)
--   digest   6ca18b867067394b
