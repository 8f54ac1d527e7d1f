-- Every processed row, as it is.
SELECT warehouse, id, k, n, x, ts FROM a;

-- expect
--   rows     4639
--   columns  warehouse Utf8, id Utf8, k Utf8, n Int64, x Float64, ts Timestamp(µs)
--   digest   806a8ee609288bec
