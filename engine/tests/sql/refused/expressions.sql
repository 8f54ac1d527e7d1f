-- Functions and operators that are not there, or that a rule may not have.

SELECT id, now() AS at FROM a;
--> W0210  expressions.sql:3:12
-->   now depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

SELECT id FROM a WHERE ts > current_timestamp - INTERVAL '1 hour';
--> W0210  expressions.sql:9:29
-->   current_timestamp depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

SELECT id, current_date AS day FROM a;
--> W0210  expressions.sql:15:12
-->   current_date depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

SELECT id, random() AS r FROM a;
--> W0210  expressions.sql:21:12
-->   random depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

SELECT id, uuid() AS u FROM a;
--> W0210  expressions.sql:27:12
-->   uuid depends on the wall clock or on chance
-->   expected  event-time columns; the time of an evaluation is the rule's event_time
-->   act       rule author. Not retried.

SELECT id, k -> 'field' AS f FROM a;
--> W0209  expressions.sql:33:12
-->   the JSON operator -> is not there yet
-->   expected  the fields as columns of the table: STRUCT<…>, arrays
-->   act       rule author. Not retried.

SELECT id, k ->> 'field' AS f FROM a;
--> W0209  expressions.sql:39:12
-->   the JSON operator ->> is not there yet
-->   expected  the fields as columns of the table: STRUCT<…>, arrays
-->   act       rule author. Not retried.

SELECT id, unnest(make_array(n, n)) AS e FROM a;
--> W0209  expressions.sql:45:12
-->   unnest() is not there yet
-->   expected  one record an element, made by the source
-->   act       rule author. Not retried.

SELECT id, detect(k, 'model') AS found FROM a;
--> W0213  expressions.sql:51:12
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

SELECT id, json_value(k, '$.a') AS f FROM a;
--> W0202  expressions.sql:57:12
-->   there is no function `json_value`
-->   expected  a scalar or aggregate function, tumble(…) or hop(…)
-->   act       author of the script. Nothing was started.

SELECT id, uper(k) AS f FROM a;
--> W0202  expressions.sql:63:12
-->   there is no function `uper`
-->   expected  upper (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT id, zonk(k) AS f FROM a;
--> W0202  expressions.sql:69:12
-->   there is no function `zonk`
-->   expected  a scalar or aggregate function, tumble(…) or hop(…)
-->   act       author of the script. Nothing was started.

SELECT id, k + 1.5 AS f FROM a WHERE k + ts > 1;
--> W0212  expressions.sql:75:12
-->   the types of TEXT + DOUBLE do not go together
-->   expected  CAST(… AS …) on one side
-->   act       rule author. Not retried.

SELECT id FROM a WHERE ts > 5;
--> W0212  expressions.sql:81:1
-->   the types of TIMESTAMP > BIGINT do not go together
-->   expected  CAST(… AS …) on one side
-->   act       rule author. Not retried.

SELECT id, abs(k) AS f FROM a;
--> W0212  expressions.sql:87:12
-->   `abs` does not take these arguments
-->   expected  abs(Numeric(1))
-->   act       rule author. Not retried.

SELECT id, substr(n) AS f FROM a;
--> W0212  expressions.sql:93:1
-->   substring without for/from is not valid Substring { expr: Identifier(Ident { value: "n", quote_style: None, span: Span(Location(93,19)..Location(93,20)) }), substring_from: None, substring_for: None, special: false, shorthand: false }
-->   expected  a query as docs/SQL.md has it
-->   act       rule author. Not retried.
