INSERT INTO inner_pairs
SELECT a.warehouse, a.k, a.ts, b.at_ts, a.x, b.y
FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '700 milliseconds' AND a.ts + INTERVAL '1 second' AND b.y > a.x;

INSERT INTO left_pairs
SELECT a.warehouse, a.k, a.ts, a.event_id, count(b.event_id) AS matches, sum(b.y) AS total
FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '3 seconds' AND a.ts - INTERVAL '200 milliseconds'
GROUP BY a.warehouse, a.k, a.ts, a.event_id;

INSERT INTO far_pairs
SELECT a.k, a.ts, c.c_ts, a.n, c.z
FROM a LEFT JOIN c ON a.k = c.k AND c.c_ts >= a.ts AND c.c_ts <= a.ts + INTERVAL '600 milliseconds' AND c.z <> a.n;

INSERT INTO latest
SELECT a.warehouse, a.k, a.ts, a.x, b.y, b.at_ts
FROM a ASOF LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k AND a.ts >= b.at_ts
    AND b.at_ts >= a.ts - INTERVAL '4 seconds';

INSERT INTO before
SELECT a.warehouse, a.ts, b.y FROM a ASOF JOIN b ON a.warehouse = b.warehouse AND a.ts > b.at_ts
    AND b.at_ts >= a.ts - INTERVAL '1 second';

INSERT INTO far_latest
SELECT c.k, c.c_ts, c.z, a.x FROM c ASOF LEFT JOIN a ON c.k = a.k AND c.c_ts >= a.ts AND a.ts >= c.c_ts - INTERVAL '2 seconds';

INSERT INTO three
SELECT j.warehouse, j.k, j.ts, j.y, c.z
FROM (
    SELECT a.warehouse, a.k, a.ts, b.y FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
        AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second'
) AS j
JOIN c ON j.warehouse = c.warehouse AND c.c_ts BETWEEN j.ts - INTERVAL '500 milliseconds' AND j.ts + INTERVAL '500 milliseconds';
