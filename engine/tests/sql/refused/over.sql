-- OVER and what needs more than rows of a range.

SELECT lag(x) OVER (PARTITION BY k ORDER BY ts) FROM a;
--> W0208  over.sql:3:12
-->   lag over an unbounded frame would keep every row for ever
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) FROM a;
--> W0208  over.sql:9:12
-->   sum over an unbounded frame would keep every row for ever
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:15:12
-->   a ROWS or GROUPS frame in sum
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY ts GROUPS BETWEEN 5 PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:21:12
-->   a ROWS or GROUPS frame in sum
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN CURRENT ROW AND INTERVAL '5 seconds' FOLLOWING) FROM a;
--> W0209  over.sql:27:12
-->   a frame that does not end at CURRENT ROW in sum
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY n RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) FROM a;
--> W0207  over.sql:33:45
-->   cannot order OVER by `a.n`: it is not an ascending event-time column here
-->   expected  an event-time column; this query keeps none
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k ORDER BY ts DESC RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0207  over.sql:39:45
-->   cannot order OVER by `a.ts`: it is not an ascending event-time column here
-->   expected  ts (event time)
-->   act       rule author. Not retried.

SELECT sum(x) OVER (PARTITION BY k) FROM a;
--> W0207  over.sql:45:12
-->   OVER needs exactly one ORDER BY column, an event-time column
-->   expected  OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)
-->   act       rule author. Not retried.

SELECT sum(c) OVER (PARTITION BY k ORDER BY starts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM (
    SELECT k, slot.start AS starts, c FROM (
        SELECT k, tumble(INTERVAL '1 second') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '1 second')
    ) AS g
) AS q;
--> W0207  over.sql:51:45
-->   cannot order OVER by `q.starts`: it is not an ascending event-time column here
-->   expected  an event-time column; this query keeps none
-->   act       rule author. Not retried.

SELECT k, row_number() OVER (PARTITION BY k ORDER BY ts) AS n FROM a;
--> W0209  over.sql:61:11
-->   row_number() and Top-N are not there yet
-->   expected  max, min or first_value(… ORDER BY …) in GROUP BY with a window
-->   act       rule author. Not retried.

SELECT id FROM (
    SELECT id, rank() OVER (PARTITION BY k ORDER BY x DESC) AS place FROM a
) AS q WHERE place <= 3;
--> W0209  over.sql:68:16
-->   rank() and Top-N are not there yet
-->   expected  max, min or first_value(… ORDER BY …) in GROUP BY with a window
-->   act       rule author. Not retried.

SELECT lead(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:75:8
-->   lead() waits for rows to come, and is not there yet
-->   expected  lag(…) OVER (…)
-->   act       rule author. Not retried.

SELECT first_value(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:81:8
-->   first_value() in OVER is not there yet
-->   expected  lag, or an aggregate; first_value in GROUP BY
-->   act       rule author. Not retried.

SELECT count(DISTINCT x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:87:23
-->   count() in OVER is not there yet
-->   expected  lag, count, sum, avg, min, max, regr_slope, …
-->   act       rule author. Not retried.

SELECT lag(x, n) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0212  over.sql:93:12
-->   LAG's offset is a constant, not a column
-->   expected  lag(column, 2)
-->   act       rule author. Not retried.

SELECT lag(x) IGNORE NULLS OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) FROM a;
--> W0209  over.sql:99:12
-->   LAG … IGNORE NULLS is not there yet
-->   expected  lag(…) OVER (…), or a view that leaves the NULLs out
-->   act       rule author. Not retried.

SELECT sum(x) OVER w FROM a;
--> W0202  over.sql:105:20
-->   there is no window `w`
-->   expected  WINDOW name AS (PARTITION BY … ORDER BY ts RANGE …)
-->   act       author of the script. Nothing was started.

SELECT x FROM a QUALIFY sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW) > 1.0;
--> W0209  over.sql:111:25
-->   QUALIFY is not there yet
-->   expected  WHERE over a subquery
-->   act       rule author. Not retried.
