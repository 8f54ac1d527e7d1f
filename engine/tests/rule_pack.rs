//! The tests of the rule pack: every rule has a file of them beside it, and all pass. What two of its programs
//! declare, they declare alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_engine::run::rule_test::{RuleTests, Verdict, read_tests};
use weir_engine::sql::{SourceFile, load, read};

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").canonicalize().expect("the rule pack")
}

#[test]
fn the_rules_do_what_their_tests_say() {
    let files = load(&rules()).expect("the rule pack");
    let script = read(&files).expect("a program");
    let tests = RuleTests::new(&files).expect("a plan");
    let (mut seen, mut failed) = (0, Vec::new());
    for file in &files {
        let holds_rule = |r: &weir_engine::sql::catalog::RuleSpec| matches!(&r.place, weir_contract::Place::Script { file: at, .. } if *at == file.name);
        if !script.rules.iter().any(holds_rule) {
            continue;
        }
        let name = file.name.replace(".sql", ".test.sql");
        let text = std::fs::read_to_string(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let source = SourceFile { name: name.clone(), folder: String::new(), text };
        let read = read_tests(&source).unwrap_or_else(|errors| panic!("{errors:?}"));
        for outcome in tests.run(&read, None) {
            seen += 1;
            match outcome.verdict {
                Verdict::Passed => {}
                Verdict::Failed(report) => {
                    failed.push(format!("{} {}\n{report}", outcome.place, outcome.name))
                }
                Verdict::Broken(errors) => {
                    failed.push(format!("{} {}\n{errors:?}", outcome.place, outcome.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {seen} tests fail\n{}", failed.len(), failed.join("\n"));
    assert!(seen >= script.rules.len(), "{seen} tests for {} rules", script.rules.len());
}

/// Columns of the tables of a program: name, type, whether NULL may stand there.
fn tables(path: &Path) -> BTreeMap<String, Vec<(String, String, bool)>> {
    let script = read(&load(path).expect("a script")).expect("a program");
    let tables = script.tables.into_iter().map(|table| {
        let columns = table.columns.into_iter();
        (table.name, columns.map(|c| (c.name, c.data_type.to_string(), c.nullable)).collect())
    });
    tables.collect()
}

#[test]
fn the_detector_writes_the_tables_that_the_rules_read() {
    let (read, written) = (tables(&rules()), tables(&rules().join("detect.sql")));
    let both: Vec<&String> = written.keys().filter(|name| read.contains_key(*name)).collect();
    assert_eq!(both, ["detections"], "tables of detect.sql that the pack has too");
    for name in both {
        assert_eq!(written[name], read[name], "{name}: detect.sql, then streams.sql");
    }
}
