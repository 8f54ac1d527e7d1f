//! Law 4: the batch answer is the right answer. What streaming writes over sources that end is what
//! DataFusion says of the batch form over the rows that streaming marked on time: exactly. For rules that
//! holds of the rows that go into their episodes; their events are those of a naive twin over batch rows.
//!
//! The queries are files: `engine/tests/sql` (see `oracle/suite.rs`). A case is drawn from its seed;
//! `WEIR_SEED` runs one alone, `WEIR_BLESS=1` writes the answers into the files.

#[path = "oracle/answer.rs"]
mod answer;
#[path = "oracle/episodes.rs"]
mod episodes;
#[path = "oracle/faults.rs"]
mod faults;
#[path = "oracle/mutants.rs"]
mod mutants;
#[path = "oracle/pack.rs"]
mod pack;
#[allow(dead_code)]
#[path = "laws/program.rs"]
mod program;
#[path = "oracle/refused.rs"]
mod refused;
#[path = "oracle/suite.rs"]
mod suite;
#[path = "../src/episodes/twin.rs"]
mod twin;
#[allow(dead_code)]
#[path = "laws/world.rs"]
mod world;

use std::collections::BTreeMap;

use answer::{Batch, Given, difference, lines_of, rows_of};
use program::{OUTPUTS_SQL, TABLES};
use weir_engine::sql::plan::ir::Output;
use world::{Shape, World};

const CASES: u64 = 24;
const EVENTS: &str = "t.events.laws";

#[test]
fn what_streaming_writes_is_the_batch_answer() {
    let queries = suite::accepted();
    let mut scripts =
        vec![("tables.sql".to_owned(), TABLES.to_owned()), ("laws.sql".to_owned(), OUTPUTS_SQL.to_owned())];
    scripts.extend(queries.iter().map(|q| (q.path.display().to_string(), q.program())));
    let plan = suite::planned(scripts).unwrap_or_else(|e| panic!("{}", suite::shown(e)));
    let batch = Batch::new();
    let one = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (0..CASES).collect(), |seed| vec![seed]);
    let mut answers: BTreeMap<&str, suite::Answers> = BTreeMap::new();
    let mut events_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for seed in &seeds {
        let world = World::new(*seed);
        let streamed = world.run(&plan, &Shape::bounded());
        let lines = |topic: &str| streamed.outputs.get(topic).map_or(&[][..], Vec::as_slice);
        let given = Given::of(&world.log(), world.control_records(), &plan);
        let mut rows_by_node = BTreeMap::new();
        for output in &plan.outputs {
            let node = output.node();
            let rows = rows_by_node.entry(node).or_insert_with(|| batch.rows(&plan, node, &given));
            match output {
                Output::Insert { target, .. } => {
                    let expected = lines_of(&plan, node, rows);
                    if let Some(how) = difference(&expected, lines(&target.name)) {
                        wrong
                            .entry(target.name.clone())
                            .or_insert_with(|| format!("seed {seed}: `{}`: {how}", target.name));
                    }
                    let answer =
                        answers.entry(&target.name).or_insert_with(|| suite::Answers::new(&plan, node));
                    answer.add(&expected);
                }
                Output::Rule { spec, .. } => {
                    let stream = &plan.nodes[node].stream;
                    let expected = episodes::expected(spec, stream, rows, given.highest);
                    let mut told: Vec<String> =
                        lines(EVENTS).iter().filter_map(|l| episodes::streamed(&spec.name, l)).collect();
                    told.sort();
                    *events_of.entry(&spec.name).or_default() += told.len();
                    if let Some(how) = difference(&expected, &told) {
                        wrong
                            .entry(format!("events of {}", spec.name))
                            .or_insert_with(|| format!("seed {seed}: events of `{}`: {how}", spec.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_values().collect::<Vec<_>>().join("\n"));
    if one.is_some() {
        return;
    }
    let silent: Vec<_> = answers.iter().filter(|(_, a)| a.rows() == 0).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "queries that never gave a row: {silent:?}");
    let quiet: Vec<_> = events_of.iter().filter(|(_, n)| **n == 0).collect();
    assert!(quiet.is_empty(), "rules that never said anything: {quiet:?}");
    assert!(answers.contains_key(rows_of("rising").as_str()), "rules of the program are compared");
    assert_eq!(answers.len(), plan.outputs.len() - events_of.len(), "every query is compared");
    let unlike: Vec<String> = queries
        .iter()
        .filter_map(|query| {
            let answers = answers.remove(query.output.as_str()).expect("every query is compared");
            suite::settle(query, answers).err()
        })
        .collect();
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}
