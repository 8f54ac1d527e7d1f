//! A file of rule tests: text to tests.
//!
//! In:   the text of `x.test.sql`.
//! Out:  its tests: the views of the schemas `given` and `expect`, each with its place.
//! Owns: the comment lines that mean something, and where a test begins and ends.
//!
//! | line | means |
//! |---|---|
//! | `-- test: WORDS` | a test begins, with this name |
//! | `-- rule: NAME` | the rule under test, where the file beside it holds several |
//! | `-- until: TIME` | how far the test's clock runs, rows behind it never come; else one hour after the last row |
//!
//! What stands before the first `-- test:` belongs to every test of the file; a test that has the same
//! view again has its own. A file without such a line is one test.

use weir_contract::{Code, Error, EventTime, Place, Result};

use crate::sql::SourceFile;
use crate::sql::catalog::{Script, ViewSpec};

/// The tests of one file.
#[derive(Debug)]
pub struct TestFile {
    pub name: String,
    pub text: String,
    pub tests: Vec<RuleTest>,
}

/// One test.
#[derive(Debug, Clone)]
pub struct RuleTest {
    pub name: String,
    pub place: Place,
    pub rule: Option<(String, Place)>,
    pub until: Option<EventTime>,
    /// Views of the schema `given`, their names without it.
    pub given: Vec<ViewSpec>,
    /// Views of the schema `expect`, their names without it.
    pub expect: Vec<ViewSpec>,
    /// Lines of the file that are this test's own, 1-based, the last one not included.
    pub lines: (u64, u64),
}

/// A run of lines with what their comments say.
struct Part {
    name: Option<String>,
    from: u64,
    to: u64,
    rule: Option<(String, Place)>,
    until: Option<EventTime>,
}

/// Reads a file of tests; all its errors come back together.
pub fn read_tests(file: &SourceFile) -> std::result::Result<TestFile, Vec<Error>> {
    let mut errors = Vec::new();
    let mut parts = parts_of(file, &mut errors);
    let mut views: Vec<Option<(Vec<ViewSpec>, Vec<ViewSpec>)>> = Vec::new();
    for part in &parts {
        views.push(match views_of(file, part) {
            Ok(found) => Some(found),
            Err(more) => {
                errors.extend(more);
                None
            }
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut views = views.into_iter().flatten();
    let (head_given, head_expect) = views.next().unwrap_or_default();
    let head = parts.remove(0);
    let single = parts.is_empty();
    let mut tests = Vec::new();
    if single {
        tests.push(RuleTest {
            name: stem(&file.name),
            place: place(file, 1),
            rule: head.rule.clone(),
            until: head.until,
            given: head_given,
            expect: head_expect,
            lines: (head.from, head.to),
        });
        return Ok(TestFile { name: file.name.clone(), text: file.text.clone(), tests });
    }
    let with_own = |shared: &[ViewSpec], own: Vec<ViewSpec>| {
        let kept = shared.iter().filter(|s| own.iter().all(|o| o.name != s.name)).cloned();
        kept.chain(own.clone()).collect::<Vec<_>>()
    };
    for (part, (given, expect)) in parts.into_iter().zip(views) {
        tests.push(RuleTest {
            name: part.name.unwrap_or_default(),
            place: place(file, part.from),
            rule: part.rule.or_else(|| head.rule.clone()),
            until: part.until.or(head.until),
            given: with_own(&head_given, given),
            expect: with_own(&head_expect, expect),
            lines: (part.from, part.to),
        });
    }
    Ok(TestFile { name: file.name.clone(), text: file.text.clone(), tests })
}

fn stem(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.trim_end_matches(".test.sql").to_owned()
}

fn place(file: &SourceFile, line: u64) -> Place {
    Place::Script { file: file.name.clone(), line, column: 1 }
}

/// The head, then one part a test.
fn parts_of(file: &SourceFile, errors: &mut Vec<Error>) -> Vec<Part> {
    let part = |name, from| Part { name, from, to: from, rule: None, until: None };
    let mut parts = vec![part(None, 1)];
    let mut last = 0;
    for (line, text) in (1..).zip(file.text.lines()) {
        last = line;
        let Some((word, rest)) = text.strip_prefix("-- ").and_then(|t| t.split_once(':')) else { continue };
        let rest = rest.trim();
        let bad = |what: &str, expected: &str| {
            Error::new(Code::BadTest, what).at(place(file, line)).expected(expected)
        };
        match word {
            "test" if rest.is_empty() => {
                errors.push(bad("a test has no name", "-- test: what it shows"));
            }
            "test" => {
                if let Some(open) = parts.last_mut() {
                    open.to = line;
                }
                parts.push(part(Some(rest.to_owned()), line));
            }
            "rule" => {
                if let Some(open) = parts.last_mut() {
                    open.rule = Some((rest.to_owned(), place(file, line)));
                }
            }
            "until" => match (EventTime::parse(rest), parts.last_mut()) {
                (Some(time), Some(open)) => open.until = Some(time),
                _ => errors.push(bad(&format!("`{rest}` is not a time"), "-- until: 2026-03-01 08:00:00")),
            },
            _ => {}
        }
    }
    if let Some(open) = parts.last_mut() {
        open.to = last + 1;
    }
    parts
}

type Views = (Vec<ViewSpec>, Vec<ViewSpec>);

/// The views of one part; every other statement is an error. Other parts are blank lines, so that
/// places stay those of the file.
fn views_of(file: &SourceFile, part: &Part) -> std::result::Result<Views, Vec<Error>> {
    let blanked: String = (1..)
        .zip(file.text.lines())
        .map(
            |(line, text)| {
                if (part.from..part.to).contains(&line) { format!("{text}\n") } else { "\n".into() }
            },
        )
        .collect();
    let source = SourceFile { name: file.name.clone(), folder: String::new(), text: blanked };
    let script = crate::sql::read(std::slice::from_ref(&source))?;
    let mut errors: Vec<Error> = stray(&script)
        .into_iter()
        .map(|at| {
            Error::new(Code::BadTest, "a test holds views only")
                .at(at)
                .expected("CREATE VIEW given.… or CREATE VIEW expect.…")
        })
        .collect();
    let (mut given, mut expect) = (Vec::new(), Vec::new());
    for mut view in script.views {
        match split(&view) {
            Ok((true, name)) => {
                view.name = name;
                given.push(view);
            }
            Ok((false, name)) => {
                view.name = name;
                expect.push(view);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok((given, expect)) } else { Err(errors) }
}

fn stray(script: &Script) -> Vec<Place> {
    let tables = script.tables.iter().map(|t| &t.place);
    let rules = script.rules.iter().map(|r| &r.place);
    let inserts = script.inserts.iter().map(|i| &i.place);
    let queries = script.queries.iter().map(|q| &q.place);
    tables.chain(rules).chain(inserts).chain(queries).cloned().collect()
}

/// What `expect` may hold: what each of the three layers between a row and an event says.
const LAYERS: [&str; 3] = ["decisions", "resolved", "events"];

fn split(view: &ViewSpec) -> Result<(bool, String)> {
    let bad = |what: String, expected: &str| {
        Err(Error::new(Code::BadTest, what).at(view.place.clone()).expected(expected))
    };
    match view.name.split_once('.') {
        Some(("given", name)) => Ok((true, name.to_owned())),
        Some(("expect", name)) if LAYERS.contains(&name) => Ok((false, name.to_owned())),
        Some(("expect", name)) => {
            let near = crate::sql::nearest::suggest(name, LAYERS.iter().copied());
            bad(format!("there is no `expect.{name}`"), &near)
        }
        _ => bad(
            format!("view `{}` is neither given nor expected", view.name),
            "CREATE VIEW given.… or CREATE VIEW expect.…",
        ),
    }
}
