//! What holds on SQLite and on PostgreSQL alike.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weir_contract::{Clock, Code, WallClock};
use weir_engine::run::ReferenceTail;
use weir_engine::state::reference_rows::rows_to_batch;

use super::*;

/// Runs each check on both databases, as two tests.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_sqlite { $(#[test] fn $name() { super::$name(&super::Place::sqlite()); })* }
        mod on_postgres { $(#[test] fn $name() { super::$name(&super::Place::postgres()); })* }
    };
}

on_both! {
    changes_by_hand_are_seen_whole
    a_transaction_is_one_group_and_a_rolled_back_one_is_none
    a_running_transaction_is_not_seen_and_not_cut
    scripts_are_groups_of_their_own_and_may_ask_for_a_time
    ids_go_on_after_a_restart
    the_engine_follows
    the_changes_add_up_to_the_tables
    a_table_with_other_columns_is_refused
    names_are_only_names
}

fn changes_by_hand_are_seen_whole(place: &Place) {
    let db = place.ready();
    let mut hand = place.hand();
    let a = unit("A", json!(10), json!(0.85), json!(true));
    let b = unit("A", json!(11), json!(0.85), Value::Null);
    let c = unit("C", json!(11), json!(0.85), Value::Null);
    let mut since = 0;
    for (sql, expected) in [
        ("INSERT INTO units VALUES ('A', 'W', 10, 0.85, TRUE)", vec![(json!(null), a.clone())]),
        ("UPDATE units SET capacity = 11, active = NULL", vec![(a, b.clone())]),
        ("UPDATE units SET capacity = 11 WHERE unit_id = 'A'", vec![]),
        ("UPDATE units SET unit_id = 'C'", vec![(b, json!(null)), (json!(null), c.clone())]),
        (
            "INSERT INTO units VALUES ('C', 'W', 11, 0.5, NULL)
             ON CONFLICT (unit_id) DO UPDATE SET overflow_on = excluded.overflow_on",
            vec![(c, unit("C", json!(11), json!(0.5), Value::Null))],
        ),
        ("INSERT INTO units VALUES ('C', 'W', 1, 1, NULL) ON CONFLICT (unit_id) DO NOTHING", vec![]),
        ("DELETE FROM units", vec![(unit("C", json!(11), json!(0.5), Value::Null), json!(null))]),
        ("DELETE FROM units", vec![]),
    ] {
        hand.run(sql).unwrap();
        let groups = follow(&db, since);
        let seen: Vec<_> = groups.iter().flat_map(shown).map(|(_, before, after)| (before, after)).collect();
        assert_eq!(seen, expected, "{sql}");
        assert_eq!(groups.len(), usize::from(!expected.is_empty()), "{sql}");
        if let Some(group) = groups.last() {
            assert!(group.committed_at.abs_diff(WallClock.now_us()) < 600_000_000, "{}", group.committed_at);
            since = group.change;
        }
    }
}

fn a_transaction_is_one_group_and_a_rolled_back_one_is_none(place: &Place) {
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("BEGIN").unwrap();
    for n in 0..5 {
        hand.run(&format!("INSERT INTO units VALUES ('U{n}', 'W', {n}, NULL, FALSE)")).unwrap();
    }
    hand.run("INSERT INTO routes (place, step) VALUES ('P', 1)").unwrap();
    hand.run("DELETE FROM units WHERE capacity < 2").unwrap();
    hand.run("COMMIT").unwrap();
    let groups = follow(&db, 0);
    assert_eq!(groups.iter().map(|g| g.changes.len()).collect::<Vec<_>>(), [8]);
    assert_eq!(groups[0].changes.iter().filter(|c| c.table == "routes").count(), 1);
    hand.run("BEGIN").unwrap();
    hand.run("DELETE FROM units").unwrap();
    hand.run("ROLLBACK").unwrap();
    assert_eq!(follow(&db, groups[0].change), []);
    hand.run("UPDATE units SET capacity = 9 WHERE unit_id = 'U4'").unwrap();
    let later = follow(&db, groups[0].change);
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].changes.len(), 1);
}

fn a_running_transaction_is_not_seen_and_not_cut(place: &Place) {
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    let first = follow(&db, 0).pop().unwrap();
    hand.run("BEGIN").unwrap();
    hand.run("UPDATE units SET capacity = 2").unwrap();
    for _ in 0..3 {
        assert_eq!(db.changes_since(first.change).unwrap(), []);
        assert_eq!(db.snapshot(&declared()).unwrap().1, first.change);
    }
    hand.run("INSERT INTO units VALUES ('B', 'W', 1, NULL, TRUE)").unwrap();
    hand.run("COMMIT").unwrap();
    let groups = follow(&db, first.change);
    assert_eq!(groups.iter().map(|g| g.changes.len()).collect::<Vec<_>>(), [2]);
}

fn scripts_are_groups_of_their_own_and_may_ask_for_a_time(place: &Place) {
    let db = place.ready();
    db.execute_script(
        "INSERT INTO units VALUES ('A', 'W', 1, 0.5, TRUE), ('B', 'W', 2, 0.5, FALSE);
         INSERT INTO routes (place, step) VALUES ('it''s; one', 1);",
    )
    .unwrap();
    db.execute_script_at("UPDATE units SET capacity = 3", Some(1_772_352_000_000_000)).unwrap();
    db.execute_script("DELETE FROM units").unwrap();
    let broken =
        db.execute_script("DELETE FROM routes; INSERT INTO units (unit_id) VALUES ('C')").unwrap_err();
    assert_eq!(broken.code(), Code::Reference, "{broken}");
    let groups = follow(&db, 0);
    assert_eq!(groups.iter().map(|g| g.changes.len()).collect::<Vec<_>>(), [3, 2, 2]);
    assert_eq!(
        groups.iter().map(|g| g.asked_at).collect::<Vec<_>>(),
        [None, Some(1_772_352_000_000_000), None]
    );
    assert_eq!(db.snapshot(&declared()).unwrap().0["routes"].len(), 1, "a script runs whole or not at all");
}

fn ids_go_on_after_a_restart(place: &Place) {
    let db = place.ready();
    db.execute_script("INSERT INTO units VALUES ('A', 'W', 1, 0.5, TRUE)").unwrap();
    let before = follow(&db, 0);
    drop(db);
    // Changes while weir is not there are seen when it comes back.
    place.hand().run("UPDATE units SET capacity = 2").unwrap();
    let db = place.ready();
    assert_eq!(follow(&db, 0)[..1], before);
    let later = follow(&db, before[0].change);
    assert_eq!(later.len(), 1);
    assert!(later[0].change > before[0].change);
    db.ensure(&declared()).unwrap();
    assert_eq!(db.snapshot(&declared()).unwrap().1, later[0].change, "making tables again changes nothing");
    let lost = db.changes_since(later[0].change + 1).unwrap_err();
    assert_eq!(lost.code(), Code::Reference, "an older copy: {lost}");
}

fn the_engine_follows(place: &Place) {
    let db = place.ready();
    db.execute_script("INSERT INTO units VALUES ('A', 'W', 1, 0.5, TRUE), ('B', 'W', 2, NULL, NULL)")
        .unwrap();
    let mut tail: Box<dyn ReferenceTail> = Box::new(db);
    let (change, rows) = tail.first().unwrap();
    assert!(rows.iter().all(|r| r.table == "units" && r.before.is_none()));
    assert_eq!(rows.len(), 2);
    assert!(tail.since(change).unwrap().is_empty());
    place.hand().run("UPDATE units SET capacity = 5 WHERE unit_id = 'B'").unwrap();
    let later = tail.since(change).unwrap();
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].changes[0].before.as_ref(), rows[1].after.as_ref());
    // Nobody asked for a time: it is the change's own.
    assert!(later[0].asked_at.abs_diff(WallClock.now_us()) < 600_000_000);
}

/// Random single and grouped statements; folding the changes over an earlier snapshot gives the tables.
fn the_changes_add_up_to_the_tables(place: &Place) {
    let db = place.ready();
    let mut hand = place.hand();
    let specs = declared();
    let mut seed = 7_u64;
    let mut chance = |of: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % of
    };
    let mut table: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut since = 0;
    for round in 0..40 {
        let grouped = chance(3) == 0;
        if grouped {
            hand.run("BEGIN").unwrap();
        }
        for _ in 0..=chance(4) {
            let (id, n) = (chance(6), chance(5));
            let sql = match chance(4) {
                0 => format!("DELETE FROM units WHERE unit_id = 'U{id}'"),
                1 => format!("UPDATE units SET capacity = {n} WHERE capacity < 3"),
                2 => format!(
                    "UPDATE units SET unit_id = 'U{id}' WHERE unit_id = 'U{n}'
                     AND NOT EXISTS (SELECT 1 FROM units WHERE unit_id = 'U{id}')"
                ),
                _ => format!(
                    "INSERT INTO units VALUES ('U{id}', 'W', {n}, {n} / 7.0, NULL)
                     ON CONFLICT (unit_id) DO UPDATE SET capacity = excluded.capacity"
                ),
            };
            hand.run(&sql).unwrap();
        }
        if grouped {
            hand.run(if chance(4) == 0 { "ROLLBACK" } else { "COMMIT" }).unwrap();
        }
        if chance(2) == 0 && round < 39 {
            continue;
        }
        for group in follow(&db, since) {
            since = group.change;
            for change in group.changes {
                let key = |row: &Map<String, Value>| row["unit_id"].to_string();
                let held = match &change.before {
                    Some(row) => table.remove(&key(row)),
                    None => None,
                };
                assert_eq!(held, change.before, "the row before is the row that was there");
                if let Some(row) = change.after {
                    assert_eq!(table.insert(key(&row), row), None);
                }
            }
        }
        let (rows, last) = db.snapshot(&specs).unwrap();
        assert_eq!(last, since);
        assert_eq!(rows["units"], table.values().cloned().collect::<Vec<_>>(), "round {round}");
    }
    assert_eq!(rows_to_batch(&specs[0], table.values()).unwrap().num_rows(), table.len());
}

fn a_table_with_other_columns_is_refused(place: &Place) {
    let db = place.open();
    place.hand().run("CREATE TABLE units (unit_id TEXT PRIMARY KEY, warehouse TEXT)").unwrap();
    let error = db.ensure(&declared()).unwrap_err();
    assert_eq!(error.code(), Code::Reference);
    assert!(error.what().contains("capacity"), "{error}");
    let listed = "CREATE TABLE t (id TEXT, tags TEXT[], PRIMARY KEY (id)) WITH (connector = 'reference')";
    assert_eq!(db.ensure(&tables(listed)).unwrap_err().code(), Code::BadColumn);
}

fn names_are_only_names(place: &Place) {
    let mut odd = tables(UNITS).remove(0);
    odd.name = "o'dd \"name\"; DROP TABLE units".into();
    odd.columns[2].name = "or'der \"by\"".into();
    let db = place.open();
    db.ensure(&[odd.clone()]).unwrap();
    let quoted = odd.name.replace('"', "\"\"");
    place.hand().run(&format!("INSERT INTO \"{quoted}\" VALUES ('A', 'W', 4, 0.5, TRUE)")).unwrap();
    let groups = follow(&db, 0);
    let after = groups[0].changes[0].after.as_ref().unwrap();
    assert_eq!(after["or'der \"by\""], json!(4));
    assert_eq!(db.snapshot(std::slice::from_ref(&odd)).unwrap().0[&odd.name], std::slice::from_ref(after));
}

/// The same statements give the same bytes on both databases.
#[test]
fn both_databases_write_the_same_rows() {
    let rows = "INSERT INTO routes VALUES
        ('ü', 1, 12.3, 'say \"hi\"', '2026-03-01T09:00:00.5+01:00', '2026-03-01', NULL, -3),
        ('a', 2, '-0.05', '', '2026-03-01 08:00:00Z', '1969-12-31', NULL, 0),
        ('Z', 1, NULL, NULL, NULL, NULL, NULL, NULL);
        INSERT INTO units VALUES ('A', 'W', 9007199254740993, 0.1, TRUE), ('B', 'W', -1, 1e15, FALSE),
        ('C', 'W', NULL, 0.30000000000000004, NULL), ('D', 'W', 0, -0.0, NULL)";
    let bytes = |place: Place, raw: &str| {
        let db = place.ready();
        db.execute_script(rows).unwrap();
        db.execute_script(&format!("UPDATE routes SET raw = {raw} WHERE place = 'a'")).unwrap();
        let changes: Vec<_> = follow(&db, 0).iter().map(shown).collect();
        (changes, db.snapshot(&declared()).unwrap().0)
    };
    let sqlite = bytes(Place::sqlite(), "x'00FF'");
    let postgres = bytes(Place::postgres(), "'\\x00ff'::BYTEA");
    assert_eq!(sqlite, postgres);
    let routes = &sqlite.1["routes"];
    assert_eq!(routes.iter().map(|r| &r["place"]).collect::<Vec<_>>(), ["Z", "a", "ü"]);
    assert_eq!(routes[2]["price"], json!("12.30"));
    assert_eq!(routes[2]["since"], json!("2026-03-01T08:00:00.500Z"));
    assert_eq!(routes[1]["raw"], json!("00ff"));
    assert_eq!(sqlite.1["units"][2]["overflow_on"].as_f64(), Some(0.1 + 0.2));
}
