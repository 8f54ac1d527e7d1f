//! A writer was killed in the middle of a transaction, which the broker keeps open for a quarter of an hour: what
//! reads to the end now ends before it.

use rdkafka::producer::Producer;

use super::broker;
use super::rig::{PROGRAM, Rig, assert_sums, readings};
use super::support::topics::Topics;

const TOPIC: &str = "dangling_readings";

#[test]
fn who_reads_to_the_end_now_does_not_wait_for_a_transaction_that_nobody_ends() {
    let (rig, topics, log) = (Rig::new(), Topics::at(&broker()), format!("kafka://{}", broker()));
    topics.create(TOPIC, 2);
    let program = PROGRAM.replace("type = 'source'", &format!("type = 'source', topic = '{TOPIC}'"));
    rig.write("dangling.sql", &program);
    let rows = readings("MAD1", "x", 60);
    rows.lines().for_each(|row| topics.send(TOPIC, 0, row.as_bytes()));
    topics.flush();
    let open = topics.undecided(TOPIC, 0, rows.lines().next().unwrap().as_bytes());

    let shown = rig.ok(&["tail", TOPIC, "--log", &log]);
    assert_eq!(shown.out, rows);
    let replay = rig.ok(&["replay", "dangling.sql", "--from", &log, "--json"]).json();
    assert_sums(&replay);
    assert_eq!(replay["sources"]["readings"]["records"], 60, "{replay}");
    let taped = rig.ok(&["record", "dangling.sql", "--out", "tape", "--until", "end", "--log", &log]);
    assert!(taped.out.contains(&format!("{TOPIC} 60 records")), "{}", taped.out);
    open.abort_transaction(std::time::Duration::from_secs(60)).unwrap();
}
