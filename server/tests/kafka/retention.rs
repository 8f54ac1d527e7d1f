//! Retention takes records that a run or a replay needs: each says which, and none goes on without them.

use std::time::Duration;

use super::broker;
use super::rig::{PROGRAM, Rig, assert_sums, readings};
use super::support::topics::Topics;

const TOPIC: &str = "cut_readings";

fn lines(rig: &Rig, log: &str) -> usize {
    std::thread::sleep(Duration::from_millis(200));
    rig.run(&["tail", "dev.events.cut", "--log", log]).out.lines().count()
}

#[test]
fn records_that_retention_took_are_named() {
    let (rig, topics, log) = (Rig::new(), Topics::at(&broker()), format!("kafka://{}", broker()));
    topics.create(TOPIC, 2);
    rig.write("cut.sql", &PROGRAM.replace("type = 'source'", &format!("type = 'source', topic = '{TOPIC}'")));
    let rows: Vec<String> = readings("MAD1", "x", 60).lines().map(str::to_owned).collect();
    rows[..40].iter().for_each(|row| topics.send(TOPIC, 0, row.as_bytes()));
    topics.flush();
    let start =
        |data: &str| rig.start(&["run", "cut.sql", "--log", &log, "--data", data, "--checkpoint-every", "1"]);

    let mut first = start("data");
    first.until("two events", || lines(&rig, &log) == 2);
    first.signal("TERM");
    let said = first.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_sums(&said.summary());

    // What the checkpoint stands before is gone: a restart says so and does nothing.
    rows[40..].iter().for_each(|row| topics.send(TOPIC, 0, row.as_bytes()));
    topics.flush();
    topics.cut(TOPIC, 0, 50);
    let said = start("data").wait();
    assert_eq!(said.code, Some(1), "{}", said.err);
    for words in
        ["W0403", "cut_readings/0/40", "records 40 to 49 are gone", "from 50 to 60", "act       operator"]
    {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }

    // A replay that lacks what the live run had is no replay of it.
    let said = rig.run(&["replay", "cut.sql", "--from", &log]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    for words in ["W0403", "readings/0/0", "records 0 to 49 are gone", "--cold", "act       operator"] {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }
    let cold = rig.ok(&["replay", "cut.sql", "--from", &log, "--cold", "--json"]).json();
    assert_eq!(cold["sources"]["readings"]["records"], 10, "{cold}");

    // A cold start begins where the log begins; the records are taken while it stands still.
    let mut running = start("other");
    running.until("checkpoint", || rig.path("other/checkpoints/cut/0000000003.manifest.json").exists());
    running.signal("STOP");
    // Longer than any fetch that was under way.
    std::thread::sleep(Duration::from_secs(2));
    let late: Vec<String> = readings("MAD1", "y", 60).lines().map(str::to_owned).collect();
    late.iter().for_each(|row| topics.send(TOPIC, 0, row.as_bytes()));
    topics.flush();
    topics.cut(TOPIC, 0, 100);
    running.signal("CONT");
    let said = running.wait();
    assert_eq!(said.code, Some(1), "{}", said.err);
    for words in ["W0403", "cut_readings/0/60", "records 60 to 99 are gone", "act       operator"] {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }
}
