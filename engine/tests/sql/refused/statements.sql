-- Statements of PostgreSQL that are none here.

DROP TABLE a;
--> W0209  statements.sql:3:1
-->   DROP is not there yet: a script says what is
-->   expected  the CREATE statement taken out of the script
-->   act       rule author. Not retried.

SHOW TABLES;
--> W0209  statements.sql:9:1
-->   SHOW is not there yet: a script says what is
-->   expected  weir check FOLDER, weir explain FOLDER
-->   act       rule author. Not retried.

DESCRIBE a;
--> W0209  statements.sql:15:1
-->   DESCRIBE is not there yet: a script says what is
-->   expected  weir explain FOLDER NAME
-->   act       rule author. Not retried.

EXPLAIN SELECT id FROM a;
--> W0209  statements.sql:21:1
-->   EXPLAIN is not there yet: a script says what is
-->   expected  weir explain FOLDER NAME
-->   act       rule author. Not retried.

COPY a TO 'a.csv';
--> W0209  statements.sql:27:1
-->   COPY is not there yet: a script says what is
-->   expected  INSERT INTO a table WITH (connector = 'single_file', …) or 'filesystem'
-->   act       rule author. Not retried.

SET search_path = 'x';
--> W0209  statements.sql:33:1
-->   SET is not there yet: a script says what is
-->   expected  options in WITH (…), the environment variables WEIR_…
-->   act       rule author. Not retried.

UPDATE a SET n = 1;
--> W0209  statements.sql:39:1
-->   UPDATE is not there yet: a script says what is
-->   expected  any SQL client of the reference database; a stream is only added to
-->   act       rule author. Not retried.

DELETE FROM a;
--> W0209  statements.sql:45:1
-->   DELETE is not there yet: a script says what is
-->   expected  any SQL client of the reference database; a stream is only added to
-->   act       rule author. Not retried.

TRUNCATE a;
--> W0209  statements.sql:51:1
-->   TRUNCATE is not there yet: a script says what is
-->   expected  any SQL client of the reference database; a stream is only added to
-->   act       rule author. Not retried.

ALTER TABLE a ADD COLUMN z TEXT;
--> W0209  statements.sql:57:1
-->   ALTER is not there yet: a script says what is
-->   expected  the CREATE statement changed in the script
-->   act       rule author. Not retried.

MERGE INTO a USING b ON a.k = b.k WHEN MATCHED THEN DELETE;
--> W0209  statements.sql:63:1
-->   MERGE is not there yet: a script says what is
-->   expected  any SQL client of the reference database; a stream is only added to
-->   act       rule author. Not retried.

BEGIN;
--> W0209  statements.sql:69:1
-->   BEGIN is not there yet: a script says what is
-->   expected  statements by themselves: nothing of a script is in effect before all of it is
-->   act       rule author. Not retried.

GRANT SELECT ON a TO someone;
--> W0209  statements.sql:75:1
-->   GRANT is not there yet: a script says what is
-->   expected  the rights of the broker and of the reference database
-->   act       rule author. Not retried.

CREATE MATERIALIZED VIEW m AS SELECT id FROM a;
--> W0201  statements.sql:81:8
-->   cannot read `MATERIALIZED` here
-->   expected  TABLE, VIEW or RULE
-->   act       author of the script. Nothing was started.

CREATE OR REPLACE VIEW m AS SELECT id FROM a;
--> W0201  statements.sql:87:8
-->   cannot read `OR` here
-->   expected  TABLE, VIEW or RULE
-->   act       author of the script. Nothing was started.

CREATE FUNCTION f() RETURNS INT AS 'x';
--> W0201  statements.sql:93:8
-->   cannot read `FUNCTION` here
-->   expected  TABLE, VIEW or RULE
-->   act       author of the script. Nothing was started.

CREATE INDEX i ON a (k);
--> W0201  statements.sql:99:8
-->   cannot read `INDEX` here
-->   expected  TABLE, VIEW or RULE
-->   act       author of the script. Nothing was started.

SELCT id FROM a;
--> W0201  statements.sql:105:1
-->   cannot read `SELCT` here
-->   expected  SELECT (did you mean that?)
-->   act       author of the script. Nothing was started.

CREATE TABEL t (a TEXT);
--> W0201  statements.sql:111:8
-->   cannot read `TABEL` here
-->   expected  TABLE (did you mean that?)
-->   act       author of the script. Nothing was started.

SELECT id FROM a WHERE;
--> W0201  statements.sql:117:23
-->   the statement ends here
-->   expected  an expression
-->   act       author of the script. Nothing was started.

INSERT INTO labels SELECT k, k FROM a;
--> W0209  statements.sql:123:1
-->   `labels` is a table of constant rows
-->   expected  INSERT INTO … VALUES (…), …; or WITH (…) at the table, to make it a stream
-->   act       rule author. Not retried.

INSERT INTO r VALUES ('k', 1.0, 'g');
--> W0204  statements.sql:129:13
-->   `r` is a reference table: its rows live in the database
-->   expected  --reference FILE.sql for a new database, any SQL client of one that is there
-->   act       author of the script. Nothing was started.
