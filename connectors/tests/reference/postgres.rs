//! What only PostgreSQL does.

use std::time::Duration;

use weir_contract::Code;

use super::*;

#[test]
fn two_concurrent_transactions_commit_in_the_order_of_their_ids() {
    let place = Place::postgres();
    let db = place.ready();
    let mut first = place.hand();
    first.run("BEGIN").unwrap();
    first.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    let address = place.address.clone();
    let second = std::thread::spawn(move || {
        // Waits for the first one: its ids come after all of the first one's.
        Hand::open(&address).run("INSERT INTO units VALUES ('B', 'W', 1, NULL, TRUE)").unwrap();
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!second.is_finished(), "the second one waits");
    assert_eq!(follow(&db, 0), [], "and nothing of it is seen before the first one's");
    first.run("INSERT INTO units VALUES ('C', 'W', 1, NULL, TRUE)").unwrap();
    first.run("COMMIT").unwrap();
    second.join().unwrap();
    let ids: Vec<Vec<String>> = follow(&db, 0)
        .iter()
        .map(|g| g.changes.iter().map(|c| c.after.as_ref().unwrap()["unit_id"].to_string()).collect())
        .collect();
    assert_eq!(ids, [vec!["\"A\"", "\"C\""], vec!["\"B\""]]);
}

#[test]
fn many_writers_and_a_follower_agree() {
    let place = Place::postgres();
    let db = place.ready();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let address = place.address.clone();
            std::thread::spawn(move || {
                let mut hand = Hand::open(&address);
                for n in 0..10 {
                    let row = |part: &str| {
                        format!("INSERT INTO units VALUES ('{writer}-{n}-{part}', 'W', {n}, NULL, TRUE)")
                    };
                    hand.run(&format!("BEGIN; {}; {}; COMMIT", row("a"), row("b"))).unwrap();
                }
            })
        })
        .collect();
    let mut groups = Vec::new();
    while groups.len() < 40 {
        let since = groups.last().map_or(0, |g: &ChangeGroup| g.change);
        groups.extend(follow(&db, since));
    }
    writers.into_iter().for_each(|w| w.join().unwrap());
    assert_eq!(groups, follow(&db, 0), "a follower misses nothing and sees the same groups");
    assert!(groups.iter().all(|g| g.changes.len() == 2));
}

#[test]
fn truncate_is_refused() {
    let place = Place::postgres();
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    let refused = hand.run("TRUNCATE units").unwrap_err();
    assert!(refused.to_string().contains("DELETE"), "{refused}");
    assert_eq!(db.snapshot(&declared()).unwrap().0["units"].len(), 1);
}

#[test]
fn a_hand_made_transaction_may_ask_for_a_time() {
    let place = Place::postgres();
    let db = place.ready();
    let mut hand = place.hand();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    hand.run("BEGIN; SET LOCAL weir.effective_at = '2026-03-01T09:00:00+01:00'; DELETE FROM units; COMMIT")
        .unwrap();
    hand.run("INSERT INTO units VALUES ('A', 'W', 1, NULL, TRUE)").unwrap();
    let asked: Vec<_> = follow(&db, 0).iter().map(|g| g.asked_at).collect();
    assert_eq!(asked, [None, Some(1_772_352_000_000_000), None]);
}

#[test]
fn a_session_of_another_schema_and_zone_changes_nothing() {
    let place = Place::postgres();
    let db = place.ready();
    let schema = place.address.rsplit('=').next().unwrap().to_owned();
    let mut hand = place.hand();
    hand.run("SET search_path = pg_catalog; SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'")
        .unwrap();
    hand.run(&format!(
        "INSERT INTO {schema}.routes (place, step, since, day) VALUES ('P', 1, '2026-03-01T08:00:00Z', DATE '2026-03-01')"
    ))
    .unwrap();
    let groups = follow(&db, 0);
    let after = groups[0].changes[0].after.as_ref().unwrap();
    assert_eq!(after["since"], "2026-03-01T08:00:00Z");
    assert_eq!(after["day"], "2026-03-01");
}

#[test]
fn a_server_that_is_away_is_named_without_its_password() {
    let error = ReferenceDb::open("postgres://weir:hush@127.0.0.1:1/floor").err().unwrap();
    assert_eq!(error.code(), Code::Reference);
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && !text.contains("hush"), "{text}");
}
