//! The text suite: queries as files, with what comes of them behind the line `-- expect`.
//!
//! `engine/tests/sql/accepted/NAME.sql` holds one query or one `CREATE RULE`, and below it how many rows it
//! gives over all seeds, of which columns, and a digest of them. Adding a query is adding a file;
//! `WEIR_BLESS=1` fills the answers in.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use weir_engine::run::output::visible_columns;
use weir_engine::sql::catalog::TableKind;
use weir_engine::sql::plan::ir::{NodeId, Plan};
use weir_engine::sql::plan::plan_whole;
use weir_engine::sql::{SourceFile, read};

use crate::answer::{rows_of, with_rule_rows};

const EXPECT: &str = "-- expect\n";

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql").join(name)
}

pub fn blessing() -> bool {
    std::env::var("WEIR_BLESS").is_ok_and(|v| v == "1")
}

/// The `.sql` files of a folder, by name.
pub fn files(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "sql"));
    found.sort();
    found
}

/// One accepted query.
pub struct Query {
    pub path: PathBuf,
    /// Where its rows are written.
    pub output: String,
    /// The statement without the semicolon, with the comment above it.
    pub text: String,
    pub expected: String,
}

impl Query {
    pub fn is_rule(&self) -> bool {
        self.text.lines().any(|line| line.starts_with("CREATE RULE "))
    }

    /// The statements that write its rows.
    pub fn program(&self) -> String {
        if self.is_rule() { format!("{};", self.text) } else { insert(&self.output, &self.text) }
    }
}

/// `INSERT INTO` a sink that takes any columns (see [`planned`]).
pub fn insert(output: &str, query: &str) -> String {
    format!(
        "CREATE TABLE {output} (any TEXT) WITH (connector = 'memory', type = 'sink'); INSERT INTO {output} {query}\n;"
    )
}

pub fn accepted() -> Vec<Query> {
    let queries: Vec<Query> = files("accepted")
        .into_iter()
        .map(|path| {
            let whole = std::fs::read_to_string(&path).unwrap();
            let (text, expected) = whole.split_once(EXPECT).unwrap_or((&whole, ""));
            let text = text.trim().trim_end_matches(';').to_owned();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let rule = text.lines().find_map(|l| l.strip_prefix("CREATE RULE ")?.split_whitespace().next());
            let output = rule.map_or(format!("q_{stem}"), rows_of);
            Query { output, expected: expected.trim_end().to_owned(), path, text }
        })
        .collect();
    assert!(queries.len() >= 40, "{} queries", queries.len());
    queries
}

/// Plans scripts, the rows of rules written out too. A sink takes the columns that it is given. Nodes have
/// all their columns: the batch form reads them, and streaming leaves out what nobody reads (`World::run`).
///
/// # Errors
/// What the planner says, with the name of the script in front.
pub fn planned(scripts: Vec<(String, String)>) -> Result<Plan, Vec<weir_contract::Error>> {
    let file = |(name, text): (String, String)| SourceFile { name, folder: String::new(), text };
    let mut script = read(&scripts.into_iter().map(file).collect::<Vec<_>>())?;
    script.tables.iter_mut().filter(|t| t.kind == TableKind::Sink).for_each(|t| t.columns.clear());
    plan_whole(&script).map(with_rule_rows)
}

pub fn shown(errors: Vec<weir_contract::Error>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Rows, columns and digest of one query over all seeds.
pub struct Answers {
    rows: usize,
    columns: String,
    digest: Sha256,
}

impl Answers {
    pub fn new(plan: &Plan, node: NodeId) -> Answers {
        let stream = &plan.nodes[node].stream;
        let fields = stream.schema.fields().iter().take(visible_columns(stream));
        let columns: Vec<String> = fields.map(|f| format!("{} {}", f.name(), f.data_type())).collect();
        Answers { rows: 0, columns: columns.join(", "), digest: Sha256::new() }
    }

    pub fn add(&mut self, lines: &[String]) {
        self.rows += lines.len();
        for line in lines {
            self.digest.update(line.as_bytes());
            self.digest.update(b"\n");
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    fn shown(self) -> String {
        let hex: String = self.digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("--   rows     {}\n--   columns  {}\n--   digest   {hex}", self.rows, self.columns)
    }
}

/// Holds the answers against the file, or writes them there.
pub fn settle(query: &Query, answers: Answers) -> Result<(), String> {
    let found = answers.shown();
    if found == query.expected {
        return Ok(());
    }
    if blessing() {
        let text = format!("{};\n\n{EXPECT}{found}\n", query.text);
        std::fs::write(&query.path, text).unwrap();
        return Ok(());
    }
    let name = query.path.display();
    Err(format!("{name}\nexpected\n{}\nfound\n{found}\nWEIR_BLESS=1 writes it there", query.expected))
}
