//! What is refused, and in which words: exact text of each error, as `weir check` prints it.
//!
//! `engine/tests/sql/refused/*.sql` holds cases over the tables of `tables.sql`. A case is what stands above
//! its block of `-->` lines: code, place, what, expected, act. `WEIR_BLESS=1` fills the blocks in.

use weir_engine::connect::Registry;
use weir_engine::connect::memory::MemoryLog;
use weir_engine::rules::Rule;
use weir_engine::sql::plan::ir::Output;
use weir_engine::sql::plan::plan;
use weir_engine::sql::{SourceFile, check_connectors, read};

use crate::program::TABLES;
use crate::suite::{blessing, files};

const MARK: &str = "-->";
/// Words of the planner below, which say nothing to the author of a rule.
const FOREIGN: [&str; 16] = [
    "DataFusion",
    "datafusion",
    "Error during planning",
    "not implemented",
    "Unsupported",
    "Schema error",
    "sqltorel",
    "LogicalPlan",
    "EmptyRelation",
    "Utf8",
    "Int64",
    "Float64",
    "Timestamp(",
    "MonthDayNano",
    "__asof",
    "backtrace",
];

/// Lines of a file: a case, and the number of lines before it.
struct Case {
    before: usize,
    text: String,
    expected: Vec<String>,
}

fn cases(whole: &str) -> Vec<Case> {
    let mut found: Vec<Case> = Vec::new();
    let (mut open, mut before): (Vec<&str>, usize) = (Vec::new(), 0);
    let lines: Vec<&str> = whole.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        match line.strip_prefix(MARK) {
            Some(said) => {
                if !open.is_empty() {
                    found.push(Case { before, text: open.join("\n"), expected: vec![] });
                    open.clear();
                }
                if let Some(case) = found.last_mut() {
                    case.expected.push(said.strip_prefix(' ').unwrap_or(said).to_owned());
                }
                before = number + 1;
            }
            None => {
                open.push(line);
                // A new case has no block yet: it ends where an empty line follows its statement.
                if line.ends_with(';') && lines.get(number + 1).is_none_or(|next| next.trim().is_empty()) {
                    found.push(Case { before, text: open.join("\n"), expected: vec![] });
                    open.clear();
                    before = number + 1;
                }
            }
        }
    }
    assert!(open.iter().all(|l| l.trim().is_empty()), "a case without its block: {open:?}");
    found
}

/// What `weir check` would print of a script beside the tables.
fn said(file: &str, case: &Case, wrong: &mut Vec<String>) -> Vec<String> {
    let text = format!("{}{}", "\n".repeat(case.before), case.text);
    let script = |name: &str, text: String| SourceFile { name: name.into(), folder: String::new(), text };
    let files = [script("tables.sql", TABLES.into()), script(file, text)];
    let registry = Registry::default().with(MemoryLog::new());
    let errors = match read(&files) {
        Err(errors) => errors,
        Ok(script) => {
            let mut errors = check_connectors(&script, &registry);
            match plan(&script) {
                Err(found) => errors.extend(found),
                Ok(plan) => errors.extend(plan.outputs.iter().filter_map(|output| match output {
                    Output::Rule { spec, node } => Rule::new(spec, &plan.nodes[*node].stream).err(),
                    Output::Insert { .. } => None,
                })),
            }
            errors
        }
    };
    for error in &errors {
        let place = error.place().map(ToString::to_string).unwrap_or_default();
        if !place.starts_with(&format!("{file}:")) {
            wrong.push(format!("no place in {file}: {error}"));
        }
        if error.expectation().is_none() {
            wrong.push(format!("nothing is said to do instead: {error}"));
        }
    }
    errors.iter().flat_map(|e| e.to_string().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn each_refusal_says_what_where_and_what_instead() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for path in files("refused") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Blocks move the lines below them: a few rounds settle it.
        for _ in 0..4 {
            let whole = std::fs::read_to_string(&path).unwrap();
            let mut blessed = String::new();
            for case in cases(&whole) {
                let found = said(&name, &case, &mut wrong);
                if found.is_empty() {
                    wrong.push(format!("{name}: not refused:\n{}", case.text));
                }
                let text = found.join("\n");
                if let Some(word) = FOREIGN.iter().find(|word| text.contains(*word)) {
                    wrong.push(format!("{name}: `{word}` in the words of\n{}\n{text}", case.text));
                }
                if found != case.expected && !blessing() {
                    let expected = case.expected.join("\n");
                    wrong.push(format!("{name}:{}\nexpected\n{expected}\nfound\n{text}", case.before + 1));
                }
                count += 1;
                blessed += &format!("{}\n", case.text);
                found.iter().for_each(|line| blessed += &format!("{MARK} {line}\n"));
            }
            if !blessing() || blessed == whole {
                break;
            }
            std::fs::write(&path, &blessed).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 150, "{count} cases");
}
