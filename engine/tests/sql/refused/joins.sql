-- Joins of streams that are not there yet, or that would keep everything.

SELECT a.id FROM a LEFT SEMI JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:3:35
-->   SEMI JOIN is not there yet
-->   expected  LEFT JOIN, GROUP BY an event-time column, HAVING count(b.column) > 0
-->   act       rule author. Not retried.

SELECT a.id FROM a SEMI JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:9:30
-->   SEMI JOIN is not there yet
-->   expected  LEFT JOIN, GROUP BY an event-time column, HAVING count(b.column) > 0
-->   act       rule author. Not retried.

SELECT a.id FROM a LEFT ANTI JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:15:35
-->   ANTI JOIN is not there yet
-->   expected  LEFT JOIN … WHERE b.column IS NULL
-->   act       rule author. Not retried.

SELECT a.id FROM a ANTI JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:21:30
-->   ANTI JOIN is not there yet
-->   expected  LEFT JOIN … WHERE b.column IS NULL
-->   act       rule author. Not retried.

SELECT a.id FROM a RIGHT JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:27:31
-->   RIGHT joins are not there yet
-->   expected  the other side first, and LEFT JOIN
-->   act       rule author. Not retried.

SELECT a.id
FROM a
FULL OUTER JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0209  joins.sql:35:17
-->   FULL joins are not there yet
-->   expected  two LEFT JOINs, the second with WHERE … IS NULL, and UNION ALL
-->   act       rule author. Not retried.

SELECT a.id FROM a CROSS JOIN b;
--> W0208  joins.sql:41:31
-->   a join of everything with everything would keep both sides for ever
-->   expected  JOIN … ON with an equality, and between two streams a time condition
-->   act       rule author. Not retried.

SELECT a.id FROM a, b WHERE a.k = b.k;
--> W0208  joins.sql:47:21
-->   a join of everything with everything would keep both sides for ever
-->   expected  JOIN … ON with an equality, and between two streams a time condition
-->   act       rule author. Not retried.

SELECT a.id FROM a NATURAL JOIN b;
--> W0209  joins.sql:53:33
-->   a join says in ON what belongs together
-->   expected  JOIN b ON a.key = b.key AND …
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN LATERAL (SELECT y FROM b) AS c ON a.id = c.y;
--> W0209  joins.sql:59:34
-->   LATERAL in FROM is not there yet
-->   expected  a table, a view or a subquery
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN b ON a.k = b.k;
--> W0208  joins.sql:65:30
-->   a join of two streams without a time condition would keep both for ever
-->   expected  b.ts BETWEEN a.ts - INTERVAL '…' AND a.ts + INTERVAL '…' on event-time columns, or ASOF JOIN
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN b ON a.k = b.k AND b.at_ts >= a.ts;
--> W0208  joins.sql:71:30
-->   a time join needs a bound on both sides
-->   expected  b.ts BETWEEN a.ts - INTERVAL '…' AND a.ts + INTERVAL '…'
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts + INTERVAL '2 seconds' AND a.ts + INTERVAL '1 second';
--> W0212  joins.sql:77:30
-->   the interval from 2 s to 1 s is empty
-->   expected  a lower bound that is not above the upper one
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN b ON a.k = b.k AND b.y BETWEEN a.x - 1.0 AND a.x + 1.0;
--> W0208  joins.sql:83:30
-->   a join of two streams without a time condition would keep both for ever
-->   expected  b.ts BETWEEN a.ts - INTERVAL '…' AND a.ts + INTERVAL '…' on event-time columns, or ASOF JOIN
-->   act       rule author. Not retried.

SELECT b.y FROM a ASOF JOIN b ON a.k = b.k AND a.ts >= b.at_ts;
--> W0208  joins.sql:89:34
-->   an ASOF JOIN without a maximum age would keep one row of every key for ever
-->   expected  AND b.ts >= a.ts - INTERVAL '…'
-->   act       rule author. Not retried.

SELECT b.y FROM a ASOF JOIN b ON a.k = b.k AND a.ts >= b.at_ts AND b.at_ts >= a.ts - INTERVAL '1 minute' AND b.y > a.x;
--> W0209  joins.sql:95:34
-->   an ASOF JOIN takes equalities and time conditions only
-->   expected  further conditions in WHERE
-->   act       rule author. Not retried.

SELECT b.y FROM a ASOF JOIN b ON a.k = b.k AND a.ts <= b.at_ts AND b.at_ts <= a.ts + INTERVAL '1 minute';
--> W0212  joins.sql:101:34
-->   an ASOF JOIN looks back
-->   expected  a.ts >= b.ts AND b.ts >= a.ts - INTERVAL '…'
-->   act       rule author. Not retried.

SELECT b.y FROM a ASOF RIGHT JOIN b ON a.k = b.k AND a.ts >= b.at_ts;
--> W0209  joins.sql:107:19
-->   an as-of join keeps rows of its left side only
-->   expected  ASOF JOIN or ASOF LEFT JOIN
-->   act       rule author. Not retried.

SELECT b.y FROM a ASOF JOIN b WHERE a.k = b.k;
--> W0201  joins.sql:113:19
-->   an as-of join has no ON of its own
-->   expected  a ASOF [LEFT] JOIN b ON a.k = b.k AND a.ts >= b.ts AND b.ts >= a.ts - INTERVAL '…'
-->   act       author of the script. Nothing was started.

SELECT a.id FROM a ASOF JOIN r ON a.k = r.k;
--> W0209  joins.sql:119:35
-->   a reference table is as of event time by itself
-->   expected  JOIN without ASOF
-->   act       rule author. Not retried.

SELECT a.id FROM r LEFT JOIN a ON a.k = r.k;
--> W0209  joins.sql:125:35
-->   a reference table cannot be the kept side of a LEFT JOIN with a stream
-->   expected  the stream on the left
-->   act       rule author. Not retried.

SELECT a.id FROM a JOIN r ON a.x > r.v;
--> W0209  joins.sql:131:30
-->   a join to a reference table needs an equality of columns
-->   expected  ON stream.column = table.column
-->   act       rule author. Not retried.

SELECT a.id FROM a RIGHT JOIN r ON a.k = r.k;
--> W0209  joins.sql:137:31
-->   RIGHT joins are not there yet
-->   expected  the other side first, and LEFT JOIN
-->   act       rule author. Not retried.

SELECT q.u FROM (
    SELECT a.ts, b.at_ts AS u, b.k FROM a LEFT JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second'
) AS q JOIN b ON q.k = b.k AND b.at_ts BETWEEN q.u AND q.u + INTERVAL '1 second';
--> W0207  joins.sql:145:48
-->   a time join goes by event time, and `q.u` is none here
-->   expected  an event-time column; this query keeps none
-->   act       rule author. Not retried.
