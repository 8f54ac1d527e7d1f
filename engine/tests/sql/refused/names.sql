-- Names that are not known, with the nearest.

SELECT id, stasion FROM a;
--> W0202  names.sql:3:12
-->   there is no column `stasion`
-->   expected  id, k, n, ts, warehouse, x
-->   act       author of the script. Nothing was started.

SELECT idd FROM a;
--> W0202  names.sql:9:8
-->   there is no column `idd`
-->   expected  id (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT a.idd FROM a;
--> W0202  names.sql:15:8
-->   `a` has no column `idd`
-->   expected  id (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT c.id FROM a;
--> W0202  names.sql:21:8
-->   there is no table `c` in this FROM
-->   expected  a (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT
    id,
    wharehouse
FROM a WHERE n > 1;
--> W0202  names.sql:29:5
-->   there is no column `wharehouse`
-->   expected  warehouse (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT k FROM a JOIN b ON a.k = b.k AND b.at_ts BETWEEN a.ts AND a.ts + INTERVAL '1 second';
--> W0202  names.sql:36:8
-->   column `k` is in more than one table of the query
-->   expected  the table's name in front of it
-->   act       author of the script. Nothing was started.

SELECT id FROM aa;
--> W0202  names.sql:42:16
-->   there is no table or view `aa`
-->   expected  a (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT id FROM nowhere;
--> W0202  names.sql:48:16
-->   there is no table or view `nowhere`
-->   expected  a, b, moving, votes, g_sizes, labels, r
-->   act       author of the script. Nothing was started.

INSERT INTO nowhere SELECT id FROM a;
--> W0202  names.sql:54:13
-->   there is no table `nowhere`
-->   expected  a, b, r, labels
-->   act       author of the script. Nothing was started.

CREATE TABLE kept (i TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO kept SELECT id FROM a;
SELECT i FROM kept;
--> W0207  names.sql:62:15
-->   `kept` is written, not read
-->   expected  a WATERMARK in its CREATE TABLE, to read it as a stream
-->   act       rule author. Not retried.

CREATE TABLE two (i TEXT, j TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO two SELECT id FROM a;
--> W0212  names.sql:69:1
-->   the query gives 1 columns
-->   expected  2 columns, as `two` has
-->   act       rule author. Not retried.

CREATE VIEW loop_a AS SELECT k FROM loop_b;
CREATE VIEW loop_b AS SELECT k FROM loop_a;
--> W0212  names.sql:75:1
-->   view `loop_a` reads itself
-->   expected  a view over other views and tables
-->   act       rule author. Not retried.
--> W0212  names.sql:76:1
-->   view `loop_b` reads itself
-->   expected  a view over other views and tables
-->   act       rule author. Not retried.

CREATE VIEW bad AS SELECT nothing FROM a;
CREATE VIEW behind AS SELECT k FROM bad;
SELECT k FROM behind;
--> W0202  names.sql:86:27
-->   there is no column `nothing`
-->   expected  id, k, n, ts, warehouse, x
-->   act       author of the script. Nothing was started.

SELECT x AS one, n AS one FROM (SELECT x, n FROM a) AS q WHERE one > 1;
--> W0202  names.sql:94:64
-->   there is no column `one`
-->   expected  n, x
-->   act       author of the script. Nothing was started.
