//! A program: its scripts read, its tables put on a log, its queries planned.
//!
//! In:   a folder or a file, or scripts in memory; where its log is.
//! Out:  script and plan, or every error with its place.

use std::path::Path;

use weir_contract::Error;
use weir_engine::connect::{OptionDoc, Registry};
use weir_engine::sql::catalog::Script;
use weir_engine::sql::options::TABLE_OPTIONS;
use weir_engine::sql::plan::ir::Plan;
use weir_engine::sql::{SourceFile, check_connectors, check_options, load, plan, program_name, read};

use super::at::LogAt;
use super::models::{Models, Places};

/// What is to run.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    pub script: Script,
    pub plan: Plan,
}

impl Program {
    /// Reads a folder or file and plans it.
    pub fn load(path: &Path, log: &LogAt, registry: &Registry) -> Result<Program, Vec<Error>> {
        let places = Places::of_environment(log.frames(Path::new("data")));
        Program::with(path, log, registry, &Models::new(places))
    }

    /// The same with the models of the process, which its programs share.
    pub fn with(
        path: &Path,
        log: &LogAt,
        registry: &Registry,
        models: &Models,
    ) -> Result<Program, Vec<Error>> {
        let files = load(path).map_err(|e| vec![e])?;
        Program::of(program_name(path), &files, log, registry, models)
    }

    /// Plans scripts; all errors come back together.
    pub fn of(
        name: String,
        files: &[SourceFile],
        log: &LogAt,
        registry: &Registry,
        models: &Models,
    ) -> Result<Program, Vec<Error>> {
        let mut script = read(files)?;
        let mut errors = resolve(&mut script, log, registry);
        errors.extend(check_connectors(&script, registry));
        match plan::plan_with(&script, models) {
            Ok(plan) if errors.is_empty() => Ok(Program { name, script, plan }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }
}

/// Connectors that `WEIR_LOG` can choose.
const LOGS: [&str; 3] = ["kafka", "log", "filesystem"];

/// Gives every table without a connector the one of the log.
///
/// Such a table may carry options for any of them, so that it runs on each: those that the chosen one
/// does not know are left out, those that none knows are errors.
pub fn resolve(script: &mut Script, log: &LogAt, registry: &Registry) -> Vec<Error> {
    let any: Vec<OptionDoc> = LOGS
        .iter()
        .filter_map(|name| registry.get(name))
        .flat_map(|connector| connector.options())
        .map(|option| OptionDoc { required: false, ..*option })
        .collect();
    let mut errors = Vec::new();
    for table in script.tables.iter_mut().filter(|t| t.connector.is_empty()) {
        if let Err(error) = log.resolve(table) {
            errors.push(error.or_at(table.place.clone()));
        }
        let Some(connector) = registry.get(&table.connector) else { continue };
        let unknown = check_options(table, &any);
        let known = connector.options();
        if unknown.is_empty() {
            table.options.retain(|name, _| {
                TABLE_OPTIONS.contains(&name.as_str())
                    || known.iter().any(|o| match o.name.strip_suffix('*') {
                        Some(prefix) => name.starts_with(prefix),
                        None => o.name == name,
                    })
            });
        }
    }
    errors
}
