//! `weir check`: everything planned, every problem with its place.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_contract::time::show_span;
use weir_contract::{Error, Place};
use weir_engine::rules::Rule;
use weir_engine::sql::catalog::{AppendTime, Script, TableKind};
use weir_engine::sql::plan::ir::{Op, Output, Place as Site, Plan};
use weir_engine::sql::{check_connectors, load, plan, read};

use crate::Done;
use crate::wire::at::LogAt;
use crate::wire::models::{Models, Places};
use crate::wire::{ports, program};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of .sql files, or one file
    program: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Where tables without a connector will be; default: WEIR_LOG, else the embedded log
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
}

/// Something to know that is no error.
struct Note {
    place: Place,
    text: String,
}

pub fn run(args: Args) -> Done {
    let log = LogAt::choose(args.log.as_deref(), Path::new("data"))?;
    let registry = ports::registry(&log, Path::new("data"))?;
    let (mut errors, mut notes, mut later) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tables, mut rules) = (0, 0);
    match load(&args.program).map_err(|e| vec![e]).and_then(|files| read(&files)) {
        Err(found) => errors = found,
        Ok(mut script) => {
            errors.extend(program::resolve(&mut script, &log, &registry));
            errors.extend(check_connectors(&script, &registry));
            (tables, rules) = (script.tables.len(), script.rules.len());
            later = later_options(&script);
            match plan::plan_with(
                &script,
                &Models::new(Places::of_environment(log.frames(Path::new("data")))),
            ) {
                Err(found) => errors.extend(found),
                Ok(plan) => {
                    errors.extend(rule_errors(&plan));
                    notes = notes_of(&script, &plan, &log);
                }
            }
        }
    }
    if args.json {
        let value = json!({
            "ok": errors.is_empty(),
            "tables": tables,
            "rules": rules,
            "errors": errors.iter().map(error_json).collect::<Vec<_>>(),
            "not_active_yet": later.iter().map(note_json).collect::<Vec<_>>(),
            "notes": notes.iter().map(note_json).collect::<Vec<_>>(),
        });
        super::say(&value.to_string());
    } else {
        for error in &errors {
            super::say(&error.to_string());
        }
        for note in later.iter().chain(&notes) {
            super::say(&format!("note   {}\n  {}", note.place, note.text));
        }
        let problems = match errors.len() {
            0 => "no problem".into(),
            1 => "1 problem".into(),
            n => format!("{n} problems"),
        };
        super::say(&format!("{tables} tables, {rules} rules: {problems}"));
    }
    Ok(u8::from(!errors.is_empty()))
}

fn rule_errors(plan: &Plan) -> Vec<Error> {
    plan.outputs
        .iter()
        .filter_map(|output| match output {
            Output::Rule { spec, node } => Rule::new(spec, &plan.nodes[*node].stream).err(),
            Output::Insert { .. } => None,
        })
        .collect()
}

fn later_options(script: &Script) -> Vec<Note> {
    let mut notes = Vec::new();
    for rule in &script.rules {
        for (option, value) in &rule.options.later {
            let text = format!("rule `{}`: {option} = '{value}' is not active yet", rule.name);
            notes.push(Note { place: rule.place.clone(), text });
        }
        if !rule.options.enabled {
            let text = format!("rule `{}` is not enabled", rule.name);
            notes.push(Note { place: rule.place.clone(), text });
        }
    }
    notes
}

fn notes_of(script: &Script, plan: &Plan, log: &LogAt) -> Vec<Note> {
    let mut notes = Vec::new();
    for table in script.tables.iter().filter(|t| t.kind == TableKind::Source) {
        let mut note = |text: String| notes.push(Note { place: table.place.clone(), text });
        let files = matches!(table.connector.as_str(), "filesystem" | "single_file");
        if files {
            note(format!(
                "`{}` is read from plain files: no append time, so the guard against clocks ahead is off, and no \
                 heartbeats",
                table.name
            ));
        } else if table.append_time == Some(AppendTime::Untrusted) {
            note(format!(
                "`{}`: append time is not trusted, the guard against clocks ahead is off",
                table.name
            ));
        } else if table.connector == "kafka" && table.append_time != Some(AppendTime::Producer) {
            note(format!(
                "`{}` trusts append times of records with LogAppendTime only: the topic needs \
                 message.timestamp.type=LogAppendTime, else the guard of {} is off",
                table.name,
                show_span(table.max_ahead)
            ));
        }
        if table.idle_after.is_none() && !files {
            note(format!(
                "`{}` has no idle_after: a silent partition without heartbeats holds its task back",
                table.name
            ));
        }
        if table.partitioned_by.is_empty() {
            note(format!(
                "`{}` has no PARTITIONED BY: what groups or joins it goes behind an exchange",
                table.name
            ));
        }
    }
    for output in &plan.outputs {
        let (place, what) = match output {
            Output::Rule { spec, .. } => (&spec.place, format!("rule `{}`", spec.name)),
            Output::Insert { spec, .. } => (&spec.place, format!("insert into `{}`", spec.table)),
        };
        for exchange in exchanges(plan, output.node()) {
            notes.push(Note { place: place.clone(), text: format!("{what}: {exchange}") });
        }
    }
    if let LogAt::Files { .. } = log {
        notes.push(Note {
            place: Place::Path(log.to_string()),
            text: "each file is one bounded partition; events and control records go to the embedded log"
                .into(),
        });
    }
    notes
}

/// Why and where rows leave their partition on the way to a node.
fn exchanges(plan: &Plan, node: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![node];
    while let Some(id) = open.pop() {
        let node = &plan.nodes[id];
        for keys in node.exchange.iter().flatten() {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let inner = node.inputs.iter().all(|i| plan.nodes[*i].place == Site::Task);
            let why = match &node.op {
                Op::IntervalJoin { .. } | Op::AsofJoin { .. } if inner => {
                    "its inputs are not co-partitioned by the keys"
                }
                _ => "its keys do not hold the partition key",
            };
            let text = format!(
                "{} goes behind an exchange by {}: {why}; it waits for all partitions",
                node.op.name(),
                keys.join(", ")
            );
            if !found.contains(&text) {
                found.push(text);
            }
        }
        open.extend(&node.inputs);
    }
    found
}

fn place_json(place: &Place) -> Value {
    match place {
        Place::Script { file, line, column } => json!({"file": file, "line": line, "column": column}),
        other => json!({"file": other.to_string()}),
    }
}

fn error_json(error: &Error) -> Value {
    json!({
        "code": error.code().to_string(), "place": error.place().map(place_json), "what": error.what(),
        "expected": error.expectation(), "act": error.actor(),
    })
}

fn note_json(note: &Note) -> Value {
    json!({"place": place_json(&note.place), "text": note.text})
}
