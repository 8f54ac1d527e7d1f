-- Options, connectors, columns of tables.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', topik = 's');
--> W0203  tables.sql:3:1
-->   connector 'memory' has no option `topik`
-->   expected  topic (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', idle_aftr = INTERVAL '1 second');
--> W0203  tables.sql:9:1
-->   connector 'memory' has no option `idle_aftr`
-->   expected  idle_after (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memry', type = 'source');
--> W0204  tables.sql:15:1
-->   there is no connector 'memry'
-->   expected  memory (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'mqtt', type = 'source');
--> W0209  tables.sql:21:1
-->   connector 'mqtt' is not there yet
-->   expected  memory
-->   act       rule author. Not retried.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', format = 'avro');
--> W0209  tables.sql:27:101
-->   format 'avro' is not there yet
-->   expected  json, parquet, raw_bytes
-->   act       rule author. Not retried.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', format = 'jsn');
--> W0204  tables.sql:33:101
-->   there is no format 'jsn'
-->   expected  json (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE prices (sku TEXT PRIMARY KEY, price DOUBLE) WITH (connector = 'memory', type = 'lookup');
--> W0209  tables.sql:39:93
-->   lookup tables are not there yet: a rule asks nothing outside
-->   expected  connector = 'reference': rows that hold as of event time
-->   act       rule author. Not retried.

CREATE TABLE s (t TIMESTAMP) WITH (connector = 'memory', type = 'source');
--> W0207  tables.sql:45:1
-->   table `s` is read but has no event time
-->   expected  WATERMARK FOR column in it, type = 'sink', or an INSERT INTO it
-->   act       rule author. Not retried.

CREATE TABLE s (t TEXT, WATERMARK FOR t) WITH (connector = 'memory', type = 'source');
--> W0205  tables.sql:51:39
-->   the event-time column `t` is TEXT
-->   expected  TIMESTAMP
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR u) WITH (connector = 'memory', type = 'source');
--> W0202  tables.sql:57:44
-->   the table has no column `u`
-->   expected  t (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t AS t - INTERVAL '1 month') WITH (connector = 'memory', type = 'source');
--> W0204  tables.sql:63:49
-->   cannot take the lateness from `t - INTERVAL '1 month'`
-->   expected  t or t - INTERVAL '…', the interval not negative
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, m MAP<TEXT, TEXT>, WATERMARK FOR t) WITH (connector = 'memory', type = 'source');
--> W0205  tables.sql:69:32
-->   there is no type `MAP`
-->   expected  BOOLEAN, SMALLINT, INT, BIGINT, DOUBLE, DECIMAL(p, s), TEXT, JSON, BYTEA, DATE, TIMESTAMP, ARRAY<…> or STRUCT<…>
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, v VARCHAR(20), WATERMARK FOR t) WITH (connector = 'memory', type = 'source');
--> W0209  tables.sql:75:32
-->   a length of VARCHAR is not checked
-->   expected  TEXT or VARCHAR without a length
-->   act       rule author. Not retried.

CREATE TABLE s (t TIMESTAMP, o BIGINT METADATA FROM 'ofset', WATERMARK FOR t) WITH (connector = 'memory', type = 'source');
--> W0202  tables.sql:81:53
-->   a record has no metadata 'ofset'
-->   expected  offset (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', dedup = 't');
--> W0204  tables.sql:87:100
-->   `dedup` needs a horizon
-->   expected  dedup_within = INTERVAL '…' beside it
-->   act       author of the script. Nothing was started.

CREATE TABLE ref (k TEXT, v DOUBLE) WITH (connector = 'reference');
--> W0205  tables.sql:93:1
-->   reference table `ref` has no key
-->   expected  PRIMARY KEY (…)
-->   act       author of the script. Nothing was started.

CREATE TABLE ref (k TEXT PRIMARY KEY) WITH (connector = 'reference', topic = 'x');
--> W0203  tables.sql:99:70
-->   a reference table has no option `topic`
-->   expected  connector
-->   act       author of the script. Nothing was started.

CREATE TABLE a (t TIMESTAMP);
--> W0206  tables.sql:105:1
-->   `a` is defined already
-->   expected  once, as at tables.sql:3:1
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP METADATA FROM 'timestamp', a BYTEA, b BYTEA, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', format = 'raw_bytes');
--> W0205  tables.sql:111:1
-->   `s` has the format raw_bytes: its record's value is one column
-->   expected  one BYTEA column; all others METADATA FROM 'header.…' or GENERATED
-->   act       author of the script. Nothing was started.

CREATE TABLE s (t TIMESTAMP METADATA FROM 'timestamp', a TEXT, WATERMARK FOR t) WITH (connector = 'memory', type = 'source', format = 'raw_bytes');
--> W0205  tables.sql:117:1
-->   `s` has the format raw_bytes: its record's value is one column
-->   expected  one BYTEA column; all others METADATA FROM 'header.…' or GENERATED
-->   act       author of the script. Nothing was started.

CREATE TABLE o (a BYTEA) WITH (connector = 'memory', format = 'raw_bytes'); INSERT INTO o SELECT k FROM a;
--> W0209  tables.sql:123:89
-->   `o` cannot be written as raw_bytes
-->   expected  format = 'json'
-->   act       rule author. Not retried.
