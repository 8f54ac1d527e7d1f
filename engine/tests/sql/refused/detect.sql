-- detect(): one place, constants, a program of its own. No model is there in these tests.

CREATE RULE seen WITH (kind = 'event', key = 'k') AS SELECT warehouse, k, ts AS event_time, detect(photo, 'm') AS x FROM a;
--> W0213  detect.sql:3:93
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE VIEW v AS SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo, 'm')) AS d;
--> W0213  detect.sql:9:58
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo, 'm')) AS d;
--> W0213  detect.sql:15:41
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT detect(photo, 'm') FROM a;
--> W0213  detect.sql:21:90
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT a.k FROM a WHERE detect(a.photo, 'm');
--> W0213  detect.sql:27:107
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo, a.k)) AS d;
--> W0213  detect.sql:33:123
-->   the model of detect() is no constant text
-->   expected  detect(image, 'model') or detect(image, 'model', uri)
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo)) AS d;
--> W0213  detect.sql:39:123
-->   detect() takes an image, a model and, where images may be stored, a uri
-->   expected  detect(image, 'model') or detect(image, 'model', uri)
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo, 'm')) AS d;
--> W0803  detect.sql:45:140
-->   nothing here can run the model `m`
-->   expected  weir run, weir check: they find ONNX Runtime
-->   act       operator: `make onnxruntime` fetches it; WEIR_ORT_LIB names it by an absolute path.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT d.label FROM a RIGHT JOIN UNNEST(detect(a.photo, 'm')) AS d ON TRUE;
--> W0213  detect.sql:51:123
-->   UNNEST(detect(…)) takes CROSS JOIN, or JOIN and LEFT JOIN with ON
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT d.label FROM a INNER JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts CROSS JOIN UNNEST(detect(a.photo, 'm')) AS d;
--> W0213  detect.sql:57:180
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o WITH f AS (SELECT d.label FROM a CROSS JOIN UNNEST(detect(a.photo, 'm')) AS d) SELECT label FROM f;
--> W0213  detect.sql:63:134
-->   detect() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT e.v FROM a CROSS JOIN UNNEST(make_array(a.n)) AS e(v);
--> W0209  detect.sql:69:119
-->   unnest in FROM is not there yet
-->   expected  a table, a view or a subquery
-->   act       rule author. Not retried.

CREATE TABLE o (x TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO o SELECT model_sha256('m') FROM a;
--> W0803  detect.sql:75:90
-->   nothing here can run the model `m`
-->   expected  weir run, weir check: they find ONNX Runtime
-->   act       operator: `make onnxruntime` fetches it; WEIR_ORT_LIB names it by an absolute path.

SELECT model_sha256('m') FROM a;
--> W0213  detect.sql:81:8
-->   model_sha256() stands in an INSERT INTO of its own program, beside one stream, and nowhere else
-->   expected  INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) AS d ON …
-->   act       author of the script: the detector is a program of its own; rules read what it writes.
