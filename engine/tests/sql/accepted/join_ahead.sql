-- An interval that lies ahead, one bound strict; keys behind an exchange.
SELECT a.id, b.y FROM a JOIN b ON a.k = b.k AND b.at_ts > a.ts + INTERVAL '1 second'
    AND b.at_ts <= a.ts + INTERVAL '3 seconds';

-- expect
--   rows     5557
--   columns  id Utf8, y Float64
--   digest   c08c3a47e21320d6
