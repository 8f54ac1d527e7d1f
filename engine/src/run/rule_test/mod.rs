//! Tests of rules: a program run over what a test gives, on a clock that only the test moves.
//!
//! In:   a program's scripts and files of tests (`x.test.sql`).
//! Out:  for each test: passed, failed with the difference, or broken with errors.
//! Owns: which rule a test is about and how far time runs. The engine that runs is the one that always
//!       runs: lanes, watermarks, operators and episodes, over a log in memory.
//!
//! T1  Only the rule under test runs, and only what it reads.
//! T2  The watermark of every stream runs to the test's end: the comment `-- until:`, else one hour after the
//!     last row given. What is decided by then must be expected, all of it.
//!
//! Start at [`RuleTests::run`]. `file` reads tests, `given` makes rows, `world` runs them, `compare` tells
//! the difference, `bless` writes the answers.

mod bless;
mod compare;
mod file;
mod functions;
mod given;
mod world;

#[cfg(test)]
mod tests;

use std::path::Path;

use datafusion::arrow::record_batch::RecordBatch;
use serde_json::Value;
use weir_contract::{Code, Error, Place, Result};

use self::bless::{At, Blessed, bless};
use self::compare::{Expected, Got, compare};
pub use self::file::{RuleTest, TestFile, read_tests};
use self::given::{Queries, give};
use crate::sql::SourceFile;
use crate::sql::catalog::{RuleSpec, Script, ViewSpec};
use crate::sql::nearest::suggest;
use crate::sql::plan::ir::Plan;
use crate::sql::plan::{plan, plan_whole};
use crate::state::json;

/// A program whose rules are tested.
pub struct RuleTests {
    script: Script,
    plan: Plan,
}

/// What became of one test.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub place: Place,
    pub rule: String,
    pub verdict: Verdict,
    answers: Vec<Blessed>,
}

#[derive(Debug)]
pub enum Verdict {
    Passed,
    /// The difference, a line each.
    Failed(String),
    /// The test itself is not valid.
    Broken(Vec<Error>),
}

impl RuleTests {
    /// Reads and plans the program; disabled rules are tested, too.
    pub fn new(files: &[SourceFile]) -> std::result::Result<Self, Vec<Error>> {
        let mut script = crate::sql::read(files)?;
        for rule in &mut script.rules {
            rule.options.enabled = true;
        }
        let plan = plan_whole(&script)?;
        Ok(Self { script, plan })
    }

    /// Runs every test of a file whose name holds `filter`.
    pub fn run(&self, tests: &TestFile, filter: Option<&str>) -> Vec<Outcome> {
        let wanted = |t: &&RuleTest| filter.is_none_or(|f| t.name.contains(f) || tests.name.contains(f));
        tests.tests.iter().filter(wanted).map(|test| self.one(&tests.name, test)).collect()
    }

    fn one(&self, file: &str, test: &RuleTest) -> Outcome {
        let mut outcome = Outcome {
            name: test.name.clone(),
            place: test.place.clone(),
            rule: String::new(),
            verdict: Verdict::Passed,
            answers: vec![],
        };
        let done = self.rule(file, test).map_err(|e| vec![e]).and_then(|rule| {
            outcome.rule.clone_from(&rule.name);
            self.judge(file, test, rule, &mut outcome.answers)
        });
        outcome.verdict = match done {
            Ok(None) => Verdict::Passed,
            Ok(Some(report)) => Verdict::Failed(report),
            Err(errors) => Verdict::Broken(errors.into_iter().map(|e| e.or_at(test.place.clone())).collect()),
        };
        outcome
    }

    /// The rule that a test names, else the only one of the file beside it.
    fn rule(&self, file: &str, test: &RuleTest) -> Result<&RuleSpec> {
        if let Some((name, at)) = &test.rule {
            let rules = self.script.rules.iter();
            return rules.clone().find(|r| r.name == *name).ok_or_else(|| {
                Error::new(Code::BadTest, format!("the program has no rule `{name}`"))
                    .at(at.clone())
                    .expected(suggest(name, rules.map(|r| r.name.as_str()).collect::<Vec<_>>()))
            });
        }
        let beside = file.replace(".test.sql", ".sql");
        let here: Vec<&RuleSpec> = (self.script.rules.iter())
            .filter(|r| matches!(&r.place, Place::Script { file, .. } if same_file(file, &beside)))
            .collect();
        match here.as_slice() {
            [rule] => Ok(rule),
            [] => Err(Error::new(Code::BadTest, format!("{beside} holds no rule of the program"))
                .expected("a test beside its rule, or a line `-- rule: NAME`")),
            several => Err(Error::new(Code::BadTest, format!("{beside} holds {} rules", several.len()))
                .expected("a line `-- rule: NAME`")),
        }
    }

    fn judge(
        &self,
        file: &str,
        test: &RuleTest,
        rule: &RuleSpec,
        answers: &mut Vec<Blessed>,
    ) -> std::result::Result<Option<String>, Vec<Error>> {
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let queries = Queries::new(folder).map_err(|e| vec![e])?;
        let mut script =
            Script { rules: vec![rule.clone()], inserts: vec![], queries: vec![], ..self.script.clone() };
        let given = give(&queries, &test.given, &mut script, &self.plan).map_err(|e| vec![e])?;
        let plan = plan(&script)?;
        let columns = rule_columns(&plan);
        let came = world::run(&given, plan, test).map_err(|e| vec![e])?;
        let key = &rule.options.key;
        let mut reports = String::new();
        for view in &test.expect {
            let got: Vec<Got> = match view.name.as_str() {
                "decisions" => &came.decisions,
                // No rule is held back by another one yet: what is resolved is what was decided and told.
                _ => &came.events,
            }
            .iter()
            .map(|e| Got::of(e, key))
            .collect();
            let batch = queries.rows(view, "expect").map_err(|e| vec![e])?;
            let mut expected = expected(&batch).map_err(|e| vec![e])?;
            let report =
                compare(&mut expected, &got, key, &columns).map_err(|e| vec![e.or_at(view.place.clone())])?;
            if let Some(report) = report {
                answers.push(answer(view, test, expected.columns, &got));
                reports.push_str(&report);
            }
        }
        if test.expect.is_empty() {
            let got: Vec<Got> = came.events.iter().map(|e| Got::of(e, key)).collect();
            answers.push(first_answer(test, rule, &got));
            return Err(vec![
                Error::new(Code::BadTest, "the test expects nothing")
                    .expected("CREATE VIEW expect.events AS …; `weir test --bless` writes what comes"),
            ]);
        }
        Ok((!reports.is_empty()).then_some(reports))
    }
}

/// The file's text with the answers of its failed tests written into it; None where there are none.
pub fn blessed(file: &TestFile, outcomes: &[Outcome]) -> Option<String> {
    let any = outcomes.iter().any(|o| !o.answers.is_empty());
    let views: Vec<&Blessed> = outcomes.iter().flat_map(|o| &o.answers).collect();
    any.then(|| bless(&file.text, &views))
}

/// Whether two paths, perhaps seen from different folders, are one file.
fn same_file(a: &str, b: &str) -> bool {
    let whole = |path: &str| Path::new(path).canonicalize().ok();
    a == b || whole(a).is_some_and(|a| whole(b) == Some(a))
}

/// Names of the columns of a rule's query.
fn rule_columns(plan: &Plan) -> Vec<String> {
    let nodes = plan.outputs.iter().map(|o| &plan.nodes[o.node()].stream.schema);
    nodes.flat_map(|s| s.fields().iter().map(|f| f.name().clone())).collect()
}

fn expected(batch: &RecordBatch) -> Result<Expected> {
    let columns = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let row =
        |row: usize| batch.columns().iter().map(|c| json::value(c, row)).collect::<Result<Vec<Value>>>();
    Ok(Expected { columns, rows: (0..batch.num_rows()).map(row).collect::<Result<_>>()? })
}

fn answer(view: &ViewSpec, test: &RuleTest, columns: Vec<String>, got: &[Got]) -> Blessed {
    let at = match &view.place {
        Place::Script { line, column, .. } if (test.lines.0..test.lines.1).contains(line) => {
            At::Statement { line: *line, column: *column, text: view.text.clone() }
        }
        // The view is the file's: this test gets its own.
        _ => At::Line(test.lines.1),
    };
    Blessed { at, name: view.name.clone(), rows: rows_of(&columns, got), columns }
}

fn first_answer(test: &RuleTest, rule: &RuleSpec, got: &[Got]) -> Blessed {
    let mut columns = vec!["event_time".to_owned()];
    columns.extend(rule.options.key.iter().cloned());
    columns.push("label".into());
    for column in ["reason", "recommendation", "quantity"] {
        if got.iter().any(|g| g.columns.get(column).is_some_and(|v| !v.is_null())) {
            columns.push(column.into());
        }
    }
    Blessed { at: At::Line(test.lines.1), name: "events".into(), rows: rows_of(&columns, got), columns }
}

fn rows_of(columns: &[String], got: &[Got]) -> Vec<Vec<Value>> {
    let value = |g: &Got, c: &String| g.columns.get(c).cloned().unwrap_or(Value::Null);
    got.iter().map(|g| columns.iter().map(|c| value(g, c)).collect()).collect()
}
