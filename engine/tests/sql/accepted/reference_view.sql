-- A view over reference tables is itself versioned.
SELECT a.id, r.v, s.members FROM a JOIN r ON a.k = r.k JOIN g_sizes AS s ON r.g = s.g WHERE r.v > 1.0;

-- expect
--   rows     721
--   columns  id Utf8, v Float64, members Int64
--   digest   e52bb9504c82efa7
