-- Rules that do not keep the contract of rules.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, ts AS event_time, x > 1.0 AS fires FROM a;
--> W0211  rules.sql:3:1
-->   rule `bad`: no column `fire` (a rule with kind = 'condition' says when it fires); the query gives warehouse, k, event_time, fires
-->   expected  `fire`; perhaps `fires AS fire`
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, ts, x > 1.0 AS fire FROM a;
--> W0211  rules.sql:10:1
-->   rule `bad`: no column `event_time` (when the row happened); the query gives warehouse, k, ts, fire
-->   expected  a column `event_time`
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, x AS event_time, x > 1.0 AS fire FROM a;
--> W0207  rules.sql:17:1
-->   rule `bad`: `event_time` is not an event-time column: it is DOUBLE
-->   expected  a WATERMARK column, or one with a constant added, kept as event time by joins and groups
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT a.warehouse, a.k, b.at_ts AS event_time, b.y > 1.0 AS fire FROM a LEFT JOIN b
    ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0207  rules.sql:24:1
-->   rule `bad`: `event_time` is not an event-time column: the query computes it or takes it from a side that may be missing, so nothing says when it is final
-->   expected  a WATERMARK column, or one with a constant added, kept as event time by joins and groups
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'kay') AS
SELECT warehouse, k, ts AS event_time, x > 1.0 AS fire FROM a;
--> W0211  rules.sql:32:1
-->   rule `bad`: no column `kay` (it is named by the option `key`); the query gives warehouse, k, event_time, fire
-->   expected  a column `kay`
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, ts AS event_time, x AS fire FROM a;
--> W0211  rules.sql:39:1
-->   rule `bad`: column `fire` is DOUBLE
-->   expected  BOOLEAN
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'event', key = 'k') AS
SELECT warehouse, k, ts AS event_time, x > 1.0 AS fire FROM a;
--> W0211  rules.sql:46:1
-->   rule `bad`: kind = 'event' has a column `fire`, but each of its rows is an event
-->   expected  kind = 'condition', or the condition in WHERE
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'state', key = 'k') AS
SELECT warehouse, k, ts AS event_time FROM a;
--> W0204  rules.sql:53:30
-->   `kind` cannot be 'state'
-->   expected  event, condition
-->   act       author of the script. Nothing was started.

CREATE RULE bad WITH (kind = 'event', key = 'k', fire_aftr = '1 second') AS
SELECT warehouse, k, ts AS event_time FROM a;
--> W0203  rules.sql:60:50
-->   a rule has no option `fire_aftr`
-->   expected  fire_after (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE RULE bad WITH (kind = 'event', key = 'k', severity = 'hi') AS
SELECT warehouse, k, ts AS event_time FROM a;
--> W0204  rules.sql:67:61
-->   `severity` cannot be 'hi'
-->   expected  low, medium, high, emergency
-->   act       author of the script. Nothing was started.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, ts AS event_time, ts < now() AS fire FROM a;
--> W0210  rules.sql:75:45
-->   now depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

CREATE RULE bad WITH (kind = 'condition', key = 'k') AS
SELECT warehouse, k, event_time, count(*) > 1 AS fire FROM (
    SELECT warehouse, k, ts AS event_time FROM a
) AS q GROUP BY warehouse, k;
--> W0212  rules.sql:82:22
-->   `q.event_time` is neither in GROUP BY nor in an aggregate
-->   expected  it among the keys, or an aggregate of it
-->   act       rule author. Not retried.
