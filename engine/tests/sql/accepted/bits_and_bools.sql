-- Aggregates over booleans and bits.
SELECT warehouse, ts, bool_and(n > 1) AS every, bool_or(n > 7) AS some, bit_and(n) AS low, bit_or(n) AS high FROM a GROUP BY warehouse, ts;

-- expect
--   rows     3938
--   columns  warehouse Utf8, ts Timestamp(µs), every Boolean, some Boolean, low Int64, high Int64
--   digest   2c7800e46ace031d
