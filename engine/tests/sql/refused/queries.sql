-- Forms of queries that a stream does not have.

SELECT k FROM a ORDER BY k;
--> W0209  queries.sql:3:26
-->   ORDER BY of a stream has no end to wait for
-->   expected  ORDER BY inside OVER or inside an aggregate
-->   act       rule author. Not retried.

SELECT k FROM a LIMIT 10;
--> W0209  queries.sql:9:23
-->   LIMIT and OFFSET of a stream are not there yet
-->   expected  WHERE, or a window and an aggregate
-->   act       rule author. Not retried.

SELECT k FROM a OFFSET 10;
--> W0209  queries.sql:15:24
-->   LIMIT and OFFSET of a stream are not there yet
-->   expected  WHERE, or a window and an aggregate
-->   act       rule author. Not retried.

SELECT k FROM a FETCH FIRST 3 ROWS ONLY;
--> W0209  queries.sql:21:29
-->   LIMIT and OFFSET of a stream are not there yet
-->   expected  WHERE, or a window and an aggregate
-->   act       rule author. Not retried.

WITH RECURSIVE t AS (
    SELECT k, n FROM a UNION ALL SELECT k, n - 1 AS n FROM t
)

SELECT k FROM t;
--> W0208  queries.sql:27:1
-->   WITH RECURSIVE over a stream would never end
-->   expected  WITH without RECURSIVE
-->   act       rule author. Not retried.

SELECT id FROM a WHERE x > (SELECT max(v) FROM r);
--> W0209  queries.sql:37:29
-->   subqueries inside expressions are not there yet
-->   expected  a join, or a view that is joined
-->   act       rule author. Not retried.

SELECT id FROM a WHERE k IN (SELECT k FROM r);
--> W0209  queries.sql:43:24
-->   subqueries inside expressions are not there yet
-->   expected  a join, or a view that is joined
-->   act       rule author. Not retried.

SELECT id FROM a WHERE EXISTS (SELECT k FROM r WHERE r.k = a.k);
--> W0209  queries.sql:49:32
-->   subqueries inside expressions are not there yet
-->   expected  a join, or a view that is joined
-->   act       rule author. Not retried.

SELECT 1;
--> W0209  queries.sql:55:1
-->   a SELECT without FROM has no stream to read
-->   expected  FROM a stream or view
-->   act       rule author. Not retried.

SELECT k FROM r;
--> W0209  queries.sql:61:15
-->   `r` is not a stream, and stands where only a stream can
-->   expected  reference and memory tables on the right side of a join
-->   act       rule author. Not retried.

SELECT k FROM a TABLESAMPLE BERNOULLI (10);
--> W0209  queries.sql:67:15
-->   TABLESAMPLE in FROM is not there yet
-->   expected  a table, a view or a subquery
-->   act       rule author. Not retried.

SELECT v FROM generate_series(1, 10) AS g (v);
--> W0209  queries.sql:73:15
-->   a table function (generate_series) in FROM is not there yet
-->   expected  a table, a view or a subquery
-->   act       rule author. Not retried.

SELECT e FROM UNNEST(ARRAY[1, 2]) AS u (e);
--> W0209  queries.sql:79:28
-->   unnest in FROM is not there yet
-->   expected  a table, a view or a subquery
-->   act       rule author. Not retried.

SELECT k, ts FROM a UNION ALL SELECT k, at_ts + INTERVAL '1 second' AS t FROM b UNION ALL SELECT k, NULL FROM a;
--> W0209  queries.sql:85:1
-->   the branches of UNION ALL have different event-time columns or orders
-->   expected  branches that each read one stream, with the same event-time columns at the same places
-->   act       rule author. Not retried.
