-- An append-only group; its keys do not hold the partition key.
SELECT k, ts, count(*), sum(x), min(x), max(n) FROM a GROUP BY k, ts;

-- expect
--   rows     4014
--   columns  k Utf8, ts Timestamp(µs), count(*) Int64, sum(a.x) Float64, min(a.x) Float64, max(a.n) Int64
--   digest   2f6412a7c3412d6d
