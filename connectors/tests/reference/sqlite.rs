//! What only SQLite does.

use serde_json::json;

use super::*;

#[test]
fn a_replaced_row_is_known_although_no_delete_trigger_fires() {
    let place = Place::sqlite();
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    let first = follow(&db, 0).pop().unwrap();
    hand.run("REPLACE INTO units VALUES ('A', 'W', 2, NULL, TRUE), ('B', 'W', 3, NULL, TRUE)").unwrap();
    hand.run("INSERT OR IGNORE INTO units VALUES ('A', 'W', 9, NULL, TRUE)").unwrap();
    let groups = follow(&db, first.change);
    assert_eq!(
        shown(&groups[0]),
        [
            (
                "units".to_owned(),
                unit("A", json!(1), json!(null), json!(true)),
                unit("A", json!(2), json!(null), json!(true))
            ),
            ("units".to_owned(), json!(null), unit("B", json!(3), json!(null), json!(true))),
        ]
    );
    hand.run("DELETE FROM units WHERE unit_id = 'A'; INSERT INTO units VALUES ('A', 'W', 5, NULL, TRUE)")
        .unwrap();
    let again = follow(&db, groups[0].change);
    let last = again.iter().flat_map(shown).next_back().unwrap();
    assert_eq!(last.1, json!(null), "a deleted row is not replaced");
}

#[test]
fn transactions_of_others_may_share_a_group_but_are_never_cut() {
    let place = Place::sqlite();
    let db = place.ready();
    let mut hand = place.hand();
    for n in 0..3 {
        hand.run(&format!(
            "BEGIN; INSERT INTO units VALUES ('X{n}', 'W', {n}, NULL, TRUE);
             INSERT INTO units VALUES ('Y{n}', 'W', {n}, NULL, TRUE); COMMIT"
        ))
        .unwrap();
    }
    assert_eq!(follow(&db, 0).iter().map(|g| g.changes.len()).collect::<Vec<_>>(), [6]);
    // One that wants its own says so.
    for n in 3..5 {
        hand.run(&format!(
            "BEGIN; UPDATE weir_tx SET tx = tx + 1; INSERT INTO units VALUES ('X{n}', 'W', {n}, NULL, TRUE);
             INSERT INTO units VALUES ('Y{n}', 'W', {n}, NULL, TRUE); COMMIT"
        ))
        .unwrap();
    }
    let sizes: Vec<_> = follow(&db, 0).iter().map(|g| g.changes.len()).collect();
    assert_eq!(sizes, [6, 2, 2]);
}

#[test]
fn a_hand_made_transaction_may_ask_for_a_time() {
    let place = Place::sqlite();
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    hand.run(
        "BEGIN; INSERT INTO weir_effective_at VALUES ('2026-03-01T08:00:00Z'); DELETE FROM units; COMMIT",
    )
    .unwrap();
    let asked: Vec<_> = follow(&db, 0).iter().map(|g| g.asked_at).collect();
    assert_eq!(asked, [None, Some(1_772_352_000_000_000)]);
    assert!(hand.run("INSERT INTO weir_effective_at VALUES ('tomorrow')").is_err());
}

#[test]
fn what_a_column_cannot_hold_never_gets_in() {
    let place = Place::sqlite();
    let db = place.ready();
    let mut hand = place.hand();
    for bad in [
        "INSERT INTO units VALUES ('A', 'W', 'many', NULL, TRUE)",
        "INSERT INTO units VALUES ('A', 'W', 1.5, NULL, TRUE)",
        "INSERT INTO units VALUES ('A', 'W', 1, 'half', TRUE)",
        "INSERT INTO units VALUES ('A', 'W', 1, NULL, 2)",
        "INSERT INTO units VALUES ('A', NULL, 1, NULL, TRUE)",
        "INSERT INTO units VALUES (NULL, 'W', 1, NULL, TRUE)",
        "INSERT INTO routes (place, step, price) VALUES ('P', 1, '1.2.3')",
        "INSERT INTO routes (place, step, price) VALUES ('P', 1, 'cheap')",
        "INSERT INTO routes (place, step, since) VALUES ('P', 1, 'now')",
        "INSERT INTO routes (place, step, since) VALUES ('P', 1, '2026-02-30T08:00:00Z')",
        "INSERT INTO routes (place, step, since) VALUES ('P', 1, '2026-02-28T24:00:00Z')",
        "INSERT INTO routes (place, step, day) VALUES ('P', 1, '2026-02-28T08:00:00Z')",
        "INSERT INTO routes (place, step, small) VALUES ('P', 1, 40000)",
    ] {
        assert!(hand.run(bad).is_err(), "{bad}");
    }
    assert_eq!(follow(&db, 0), []);
}

#[test]
fn floats_as_people_write_them_come_back_bit_for_bit() {
    let place = Place::sqlite();
    let db = place.ready();
    let mut seed = 11_u64;
    let values: Vec<String> = (0..2_000)
        .map(|n| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Up to 12 digits, the point anywhere from the front to the back.
            let digits = format!("{:012}", seed >> 24);
            let digits = &digits[..1 + n % 12];
            let (whole, fraction) = digits.split_at(n / 12 % digits.len());
            if whole.is_empty() { format!("0.00000{fraction}") } else { format!("{whole}.{fraction}") }
        })
        .collect();
    let rows: Vec<String> =
        values.iter().enumerate().map(|(n, v)| format!("('{n:04}', 'W', NULL, {v}, NULL)")).collect();
    db.execute_script(&format!("INSERT INTO units VALUES {}", rows.join(", "))).unwrap();
    let expected: Vec<Option<f64>> = values.iter().map(|v| v.parse().ok()).collect();
    let (rows, _) = db.snapshot(&declared()).unwrap();
    let read: Vec<Option<f64>> = rows["units"].iter().map(|row| row["overflow_on"].as_f64()).collect();
    assert_eq!(read, expected);
    let changed: Vec<Option<f64>> = follow(&db, 0)
        .iter()
        .flat_map(|g| &g.changes)
        .map(|c| c.after.as_ref().and_then(|row| row["overflow_on"].as_f64()))
        .collect();
    assert_eq!(changed, expected);
}
