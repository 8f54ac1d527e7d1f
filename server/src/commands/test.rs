//! `weir test`: rule tests, a line each, and what differs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_contract::{Code, Error, Place, Result};
use weir_engine::run::rule_test::{Outcome, RuleTests, TestFile, Verdict, blessed, read_tests};
use weir_engine::sql::{SourceFile, load};

use crate::Done;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Program folders, folders in one, or files named *.test.sql
    #[arg(default_value = "rules")]
    paths: Vec<PathBuf>,
    /// Folder or file of the program; default: the innermost folder around each path that is a whole one
    #[arg(long)]
    program: Option<PathBuf>,
    /// Runs only tests whose name or file name holds this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Writes what comes into the files as what is expected
    #[arg(long)]
    bless: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Done {
    let mut done: Vec<Outcome> = Vec::new();
    let mut errors: Vec<Error> = Vec::new();
    let mut written: Vec<String> = Vec::new();
    for path in &args.paths {
        let rules = rules_of(args.program.as_deref(), path)?;
        let found = test_files(path)?;
        if found.is_empty() {
            return Err(Error::new(Code::BadFile, "there is no rule test")
                .at(Place::Path(path.display().to_string()))
                .expected("files named *.test.sql")
                .into());
        }
        for path in found {
            let tests = match read_file(&path).map_err(|e| vec![e]).and_then(|f| read_tests(&f)) {
                Ok(tests) => tests,
                Err(more) => {
                    errors.extend(more);
                    continue;
                }
            };
            let outcomes = rules.run(&tests, args.filter.as_deref());
            if args.bless && write_answers(&path, &tests, &outcomes)? {
                written.push(path.display().to_string());
            }
            if !args.json {
                outcomes.iter().for_each(show);
            }
            done.extend(outcomes);
        }
    }
    if let Some(filter) = args.filter.filter(|_| done.is_empty() && errors.is_empty()) {
        return Err(Error::new(Code::Usage, format!("no test has '{filter}' in its name or file name"))
            .expected("a part of what `weir test` prints")
            .into());
    }
    let count = |which: fn(&Verdict) -> bool| done.iter().filter(|o| which(&o.verdict)).count();
    let passed = count(|v| matches!(v, Verdict::Passed));
    let broken = count(|v| matches!(v, Verdict::Broken(_))) + errors.len();
    let failed = done.len() + errors.len() - passed - broken;
    if args.json {
        let value = json!({
            "tests": done.iter().map(outcome_json).collect::<Vec<_>>(),
            "errors": errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "passed": passed, "failed": failed, "broken": broken, "blessed": written,
        });
        super::say(&value.to_string());
    } else {
        errors.iter().for_each(|e| {
            super::say(&e.to_string());
        });
        written.iter().for_each(|file| {
            super::say(&format!("blessed {file}: read the change before it is kept"));
        });
        super::say(&format!("{} tests: {passed} passed, {failed} failed, {broken} broken", done.len()));
    }
    // A run that blessed has said what changed; what is broken stays so.
    let ok = broken == 0 && (failed == 0 || args.bless);
    Ok(u8::from(!ok))
}

/// The rules of the program that was named, else of the innermost folder that is a whole one: a part of a
/// program lacks tables, and a script that lies beside a program is none of its own.
fn rules_of(program: Option<&Path>, path: &Path) -> Result<RuleTests, Vec<Error>> {
    let read = |folder: &Path| RuleTests::new(&load(folder).map_err(|e| vec![e])?);
    if let Some(program) = program {
        return read(program);
    }
    let mut folders = folders_around(path).into_iter();
    let mut rules = folders.next().map_or_else(|| read(path), |innermost| read(&innermost));
    while rules.is_err()
        && let Some(above) = folders.next()
    {
        rules = read(&above);
    }
    rules
}

/// The folder of a path, then those above as long as they hold scripts; in the words of the caller, so that
/// messages show the path as it was given.
fn folders_around(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let (mut at, mut shown) = match path.is_dir() {
        true => (Some(absolute.as_path()), path.to_path_buf()),
        false => (absolute.parent(), path.parent().unwrap_or(Path::new("")).into()),
    };
    let mut folders = Vec::new();
    loop {
        folders.push(if shown.as_os_str().is_empty() { ".".into() } else { shown.clone() });
        at = at.and_then(Path::parent).filter(|folder| holds_script(folder));
        if at.is_none() {
            return folders;
        }
        shown = match (shown.parent(), shown.file_name()) {
            (Some(above), Some(name)) if name != ".." => above.into(),
            _ => shown.join(".."),
        };
    }
}

fn is_script(name: &str) -> bool {
    name.ends_with(".sql") && !name.ends_with(".test.sql")
}

fn holds_script(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|e| e.file_name().into_string().ok()).any(|n| is_script(&n))
}

/// The test files of a path, sorted.
fn test_files(path: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |path: &Path, e: std::io::Error| {
        Error::new(Code::BadFile, format!("cannot read the tests: {e}"))
            .at(Place::Path(path.display().to_string()))
    };
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let (mut open, mut found) = (vec![path.to_path_buf()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, e))? {
            let inner = entry.map_err(|e| unreadable(&folder, e))?.path();
            let name = inner.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if inner.is_dir() {
                if !name.starts_with('.') {
                    open.push(inner);
                }
            } else if name.ends_with(".test.sql") {
                found.push(inner);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read_file(path: &Path) -> Result<SourceFile> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(SourceFile { name, folder: String::new(), text }),
        Err(e) => Err(Error::new(Code::BadFile, format!("cannot read the tests: {e}")).at(Place::Path(name))),
    }
}

/// Whether the file changed.
fn write_answers(path: &Path, tests: &TestFile, outcomes: &[Outcome]) -> Result<bool> {
    let Some(text) = blessed(tests, outcomes).filter(|text| *text != tests.text) else { return Ok(false) };
    std::fs::write(path, text).map_err(|e| {
        Error::new(Code::Io, format!("cannot write the answers: {e}"))
            .at(Place::Path(path.display().to_string()))
    })?;
    Ok(true)
}

fn show(outcome: &Outcome) {
    let word = match outcome.verdict {
        Verdict::Passed => "ok    ",
        Verdict::Failed(_) => "FAILED",
        Verdict::Broken(_) => "BROKEN",
    };
    super::say(&format!("{word} {}  {}", outcome.place, outcome.name));
    match &outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(report) => {
            super::say("  columns that differ: expected -> got");
            super::say(report.trim_end());
        }
        Verdict::Broken(errors) => errors.iter().for_each(|e| {
            super::say(&e.to_string());
        }),
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let (word, detail) = match &outcome.verdict {
        Verdict::Passed => ("passed", Value::Null),
        Verdict::Failed(report) => ("failed", json!(report)),
        Verdict::Broken(errors) => {
            ("broken", json!(errors.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
    };
    json!({
        "name": outcome.name, "place": outcome.place.to_string(), "rule": outcome.rule,
        "verdict": word, "detail": detail,
    })
}
