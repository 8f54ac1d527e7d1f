-- Snowflake's spelling keeps left rows without a match.
SELECT a.id, b.y, b.at_ts FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= b.at_ts)
    ON a.warehouse = b.warehouse AND b.at_ts >= a.ts - INTERVAL '3 seconds';

-- expect
--   rows     4639
--   columns  id Utf8, y Float64, at_ts Timestamp(µs)
--   digest   022e65ff743cccbd
