-- A table of constant rows, with a key that comes twice.
SELECT a.id, l.label FROM a LEFT JOIN labels AS l ON a.k = l.k;

-- expect
--   rows     5731
--   columns  id Utf8, label Utf8
--   digest   84a947c0409afa1d
