//! Law 1: what a program says is a pure function of its logs. Whatever the workers, shards, batch
//! sizes, arrival between partitions, stops and kills: every output has the same records.
//!
//! A case is drawn from its seed, which is printed where it fails; `WEIR_SEED` runs one alone.

mod laws {
    pub mod program;
    pub mod world;
}

use std::collections::{BTreeMap, BTreeSet};

use laws::program::{OUTPUTS_SQL, TABLES};
use laws::world::{Shape, World};
use weir_engine::sql::plan::plan;
use weir_engine::sql::{SourceFile, read};

const CASES: u64 = 200;

#[test]
fn results_do_not_depend_on_how_they_were_computed() {
    let file = SourceFile {
        name: "laws.sql".into(),
        folder: String::new(),
        text: format!("{TABLES}\n{OUTPUTS_SQL}"),
    };
    let shown =
        |e: Vec<weir_contract::Error>| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let script = read(&[file]).unwrap_or_else(|e| panic!("{}", shown(e)));
    let plan = plan(&script).unwrap_or_else(|e| panic!("{}", shown(e)));
    let one = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (0..CASES).collect(), |seed| vec![seed]);
    let mut drawn: BTreeSet<(usize, usize, usize)> = BTreeSet::new();
    let mut records = BTreeMap::new();
    for seed in &seeds {
        let world = World::new(*seed);
        let plain = world.run(&plan, &Shape::reference());
        for (topic, lines) in &plain.outputs {
            *records.entry(topic.clone()).or_insert(0) += lines.len();
        }
        for (output, count) in &plain.failed {
            *records.entry(format!("failed {output}")).or_insert(0) += *count as usize;
        }
        for (table, dropped) in &plain.unknown {
            *records.entry(format!("unknown {table}")).or_insert(0) += dropped.keys.len();
        }
        for n in 0..2 {
            let shape = Shape::drawn(*seed, n);
            drawn.insert((shape.workers, shape.shards, shape.batch_rows));
            let other = world.run(&plan, &shape);
            assert_eq!(plain.counts, other.counts, "seed {seed}: counts under {shape:?}");
            assert_eq!(plain.unknown, other.unknown, "seed {seed}: unknown keys under {shape:?}");
            assert_eq!(plain.failed, other.failed, "seed {seed}: failed expressions under {shape:?}");
            assert_eq!(plain.unmatched, other.unmatched, "seed {seed}: unmatched under {shape:?}");
            for (topic, lines) in &plain.outputs {
                let got = other.outputs.get(topic).map_or(&[][..], Vec::as_slice);
                if lines != got {
                    let missing: Vec<_> = lines.iter().filter(|l| !got.contains(l)).take(3).collect();
                    let extra: Vec<_> = got.iter().filter(|l| !lines.contains(l)).take(3).collect();
                    panic!(
                        "seed {seed}: `{topic}` has {} records, {} under {shape:?}\nmissing {missing:#?}\nextra {extra:#?}",
                        lines.len(),
                        got.len()
                    );
                }
            }
        }
    }
    if one.is_none() {
        assert_eq!(drawn.len(), 3 * 2 * 4, "all combinations occur");
        let empty: Vec<_> = laws::program::OUTPUTS.iter().filter(|o| !records.contains_key(**o)).collect();
        assert!(empty.is_empty(), "outputs that never said anything: {empty:?}");
    }
}
