-- What fails on a row is NULL: integer division and modulo by zero, a cast.
SELECT id, n / (n - 4), n % (n - 2), CAST(k AS BIGINT), upper(coalesce(k, 'none')) FROM a;

-- expect
--   rows     4639
--   columns  id Utf8, a.n / a.n - Int64(4) Int64, a.n % a.n - Int64(2) Int64, a.k Int64, upper(coalesce(a.k,Utf8("none"))) Utf8
--   digest   dec22a92e8eb6059
