INSERT INTO known SELECT a.warehouse, a.k, a.ts, i.grp, i.factor * a.x AS scaled FROM a JOIN items AS i ON a.k = i.k AND i.floor <= a.n;

INSERT INTO maybe SELECT a.warehouse, a.event_id, a.ts, i.grp, m.label FROM a LEFT JOIN items AS i ON a.k = i.k LEFT JOIN names AS m ON a.k = m.k;

INSERT INTO per_unit
SELECT w.warehouse, m.unit_id, w.ends, s.members, count(*) AS keys, sum(w.total) AS total
FROM (
    SELECT warehouse, k, t.end - INTERVAL '1 microsecond' AS ends, total FROM (
        SELECT warehouse, k, tumble(INTERVAL '1 second') AS t, sum(x) AS total FROM a GROUP BY warehouse, k, tumble(INTERVAL '1 second')
    ) AS g
) AS w
JOIN members AS m ON w.k = m.k JOIN unit_sizes AS s ON m.unit_id = s.unit_id
GROUP BY w.warehouse, m.unit_id, w.ends, s.members;

INSERT INTO far_known
SELECT w.k, w.t.end AS ends, w.rows, i.grp
FROM (SELECT k, hop(INTERVAL '1 second', INTERVAL '2 seconds') AS t, count(*) AS rows FROM c GROUP BY k, hop(INTERVAL '1 second', INTERVAL '2 seconds')) AS w
LEFT JOIN items AS i ON w.k = i.k;

INSERT INTO groups SELECT i.grp, a.ts, count(*) AS rows, sum(a.n) AS total FROM a JOIN items AS i ON a.k = i.k GROUP BY i.grp, a.ts;
