-- Groups that are never final, and windows that are not there yet.

SELECT k, count(*) FROM a GROUP BY k;
--> W0208  groups.sql:3:36
-->   GROUP BY without a window or an event-time column would never be final
-->   expected  tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys
-->   act       rule author. Not retried.

SELECT count(*) FROM a;
--> W0208  groups.sql:9:1
-->   GROUP BY without a window or an event-time column would never be final
-->   expected  tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys
-->   act       rule author. Not retried.

SELECT k, max(x) AS top FROM a GROUP BY k HAVING max(x) > 3.0;
--> W0208  groups.sql:15:41
-->   GROUP BY without a window or an event-time column would never be final
-->   expected  tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys
-->   act       rule author. Not retried.

SELECT k, slot.start, count(*) FROM (
    SELECT k, tumble(INTERVAL '1 second') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '1 second')
) AS q GROUP BY k, slot.start;
--> W0208  groups.sql:23:17
-->   GROUP BY without a window or an event-time column would never be final
-->   expected  tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys
-->   act       rule author. Not retried.

SELECT k, n, count(*) FROM a GROUP BY k, n, x;
--> W0208  groups.sql:29:39
-->   GROUP BY without a window or an event-time column would never be final
-->   expected  tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys
-->   act       rule author. Not retried.

SELECT DISTINCT k FROM a;
--> W0208  groups.sql:35:1
-->   DISTINCT over a stream would keep every row for ever
-->   expected  GROUP BY with an event-time column or a window
-->   act       rule author. Not retried.

SELECT DISTINCT ON (k) k, x FROM a;
--> W0208  groups.sql:41:21
-->   DISTINCT ON over a stream would keep every row for ever
-->   expected  first_value(… ORDER BY …) in GROUP BY with an event-time column or a window
-->   act       rule author. Not retried.

SELECT k FROM a UNION SELECT k FROM b;
--> W0208  groups.sql:47:23
-->   UNION without ALL drops copies: it would keep every row for ever
-->   expected  UNION ALL, and GROUP BY with an event-time column
-->   act       rule author. Not retried.

SELECT k FROM a INTERSECT SELECT k FROM b;
--> W0208  groups.sql:53:27
-->   INTERSECT would keep every row for ever
-->   expected  an interval join, inner or left
-->   act       rule author. Not retried.

SELECT k FROM a EXCEPT SELECT k FROM b;
--> W0208  groups.sql:59:24
-->   EXCEPT would keep every row for ever
-->   expected  an interval join, inner or left
-->   act       rule author. Not retried.

SELECT k, count(*) FROM a GROUP BY k, session(INTERVAL '5 seconds');
--> W0209  groups.sql:65:39
-->   session windows are not there yet
-->   expected  tumble(size) or hop(slide, size); a gap is ts - lag(ts) OVER (…)
-->   act       rule author. Not retried.

SELECT k, count(*) FROM a GROUP BY k, cumulate(INTERVAL '5 seconds', INTERVAL '1 minute');
--> W0209  groups.sql:71:39
-->   cumulate windows are not there yet
-->   expected  tumble(size) or hop(slide, size)
-->   act       rule author. Not retried.

SELECT k, count(*) FROM a GROUP BY k, hop(INTERVAL '10 seconds', INTERVAL '5 seconds');
--> W0212  groups.sql:77:39
-->   `hop` by 10 s over 5 s would leave rows out
-->   expected  hop(slide, size) with slide <= size
-->   act       rule author. Not retried.

SELECT k, count(*) FROM a GROUP BY k, tumble(INTERVAL '1 month');
--> W0212  groups.sql:83:39
-->   `tumble` takes constant, positive intervals
-->   expected  INTERVAL '10 seconds'; no months
-->   act       rule author. Not retried.

SELECT k, count(*) FROM a GROUP BY k, tumble(INTERVAL '1 second'), hop(INTERVAL '1 second', INTERVAL '2 seconds');
--> W0212  groups.sql:89:36
-->   a GROUP BY has two windows
-->   expected  one window
-->   act       rule author. Not retried.

SELECT tumble(INTERVAL '1 second') AS slot FROM a;
--> W0212  groups.sql:95:8
-->   a window (`tumble`, `hop`) stands where it is not grouped by
-->   expected  tumble(…) or hop(…) in GROUP BY, and the same in SELECT
-->   act       rule author. Not retried.

SELECT k, ts, count(*) FROM a GROUP BY ROLLUP (k, ts);
--> W0209  groups.sql:101:48
-->   grouping sets are not there yet
-->   expected  one GROUP BY a set, UNION ALL
-->   act       rule author. Not retried.

SELECT k, ts, count(*) FROM a GROUP BY GROUPING SETS ((k), (ts));
--> W0209  groups.sql:107:56
-->   grouping sets are not there yet
-->   expected  one GROUP BY a set, UNION ALL
-->   act       rule author. Not retried.

SELECT k, ts, count(*) FROM a GROUP BY ALL;
--> W0209  groups.sql:113:1
-->   GROUP BY ALL is not there yet
-->   expected  the keys by name
-->   act       rule author. Not retried.

SELECT k, ts, x FROM a GROUP BY k, ts;
--> W0212  groups.sql:119:15
-->   `a.x` is neither in GROUP BY nor in an aggregate
-->   expected  it among the keys, or an aggregate of it
-->   act       rule author. Not retried.

SELECT ts, array_agg(x) FROM a GROUP BY ts;
--> W0209  groups.sql:125:12
-->   array_agg() is not there yet
-->   expected  count, sum, avg, min, max, first_value, last_value, …
-->   act       rule author. Not retried.

SELECT ts, median(x) FROM a GROUP BY ts;
--> W0209  groups.sql:131:12
-->   median() is not there yet
-->   expected  count, sum, avg, min, max, first_value, last_value, …
-->   act       rule author. Not retried.

SELECT ts, percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM a GROUP BY ts;
--> W0209  groups.sql:137:12
-->   percentile_cont() is not there yet
-->   expected  count, sum, avg, min, max, first_value, last_value, …
-->   act       rule author. Not retried.

SELECT ts, count(*) FROM a WHERE count(*) > 1 GROUP BY ts;
--> W0212  groups.sql:143:1
-->   an aggregate stands in WHERE
-->   expected  HAVING
-->   act       rule author. Not retried.
