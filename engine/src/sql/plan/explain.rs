//! A plan in words: what each operator holds and for how long, where it runs, what delays it.
//!
//! In:   a plan.
//! Out:  text, one tree for each rule, insert and query.
//! Owns: the words. The figures are the plan's own: delays, ranges, windows.
//!
//! A state bound says which rows an operator may hold at once, as a span of event time behind the newest
//! row: how late the other side's frontier may be, plus the interval or window of the operator itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use datafusion::logical_expr::Expr;
use weir_contract::time::show_span;
use weir_contract::{Code, Error, Result, Span};

use super::ir::{Node, NodeId, Op, Output, OverExpr, Place, Plan};
use crate::sql::catalog::{RuleKind, RuleSpec, TableSpec};
use crate::sql::nearest::suggest;

/// Longest expression that is shown whole.
const EXPRESSION_CHARS_MAX: usize = 100;

/// All outputs of a plan, or one rule, insert target or view.
///
/// # Errors
/// `W0202` where nothing has that name, with the nearest name.
pub fn explain(plan: &Plan, only: Option<&str>) -> Result<String> {
    let mut text = String::new();
    let mut teller = Teller { plan, seen: BTreeSet::new(), text: &mut text };
    match only {
        None => {
            for output in &plan.outputs {
                teller.output(output);
            }
        }
        Some(name) => {
            let found: Vec<&Output> = plan.outputs.iter().filter(|o| o.name() == name).collect();
            for output in &found {
                teller.output(output);
            }
            match plan.views.get(name) {
                Some((node, _)) => {
                    teller.line(0, &format!("view {name}"));
                    teller.node(*node, 1);
                }
                None if found.is_empty() => {
                    let names: Vec<&str> = plan
                        .outputs
                        .iter()
                        .map(Output::name)
                        .chain(plan.views.keys().map(String::as_str))
                        .collect();
                    return Err(Error::new(
                        Code::UnknownName,
                        format!("no rule, view or target is named `{name}`"),
                    )
                    .expected(suggest(name, names.iter().copied())));
                }
                None => {}
            }
        }
    }
    Ok(text)
}

/// What is the same for the whole program: sources with their delays, tasks, exchanges.
pub fn summary(plan: &Plan) -> String {
    let mut text = String::from("sources\n");
    for table in &plan.sources {
        let _ = writeln!(text, "  {}", source_words(table));
    }
    let sharded = plan.nodes.iter().filter(|n| n.place != Place::Task).count();
    let exchanges = plan.nodes.iter().flat_map(|n| &n.exchange).filter(|e| e.is_some()).count();
    let _ = writeln!(
        text,
        "layout\n  {} operators in tasks (one task a partition number, no waiting for other partitions)\n  {sharded} in \
         shards, behind {exchanges} {}",
        plan.nodes.len() - sharded,
        if exchanges == 1 { "exchange" } else { "exchanges" },
    );
    text
}

/// The constant delay of a rule: from the event time of a row to the moment from which it is decided.
pub fn rule_delay(plan: &Plan, spec: &RuleSpec) -> Option<Span> {
    let output =
        plan.outputs.iter().find(|o| matches!(o, Output::Rule { spec: s, .. } if s.name == spec.name))?;
    let node = &plan.nodes[output.node()];
    let column = node.stream.schema.index_of("event_time").ok()?;
    let time = node.stream.times.iter().position(|t| *t == column)?;
    node.delays.get(time).copied()
}

/// The longest time for which a silent partition may hold the outputs of a node back, and its table.
fn longest_silence(plan: &Plan, node: NodeId) -> Option<(Span, String)> {
    let tables = &plan.nodes[node].ranges;
    plan.sources
        .iter()
        .filter(|t| tables.contains_key(&t.name))
        .filter_map(|t| Some((t.idle_after?, t.name.clone())))
        .max()
}

fn source_words(table: &TableSpec) -> String {
    let lateness = table.watermark.as_ref().map_or(0, |w| w.lateness);
    let mut words = format!("{}: rows up to {} out of order", table.name, show_span(lateness));
    match table.idle_after {
        Some(span) => {
            let _ = write!(words, "; a silent partition without heartbeats waits {}", show_span(span));
        }
        None => words.push_str("; no idle_after: a silent partition waits for its next record or heartbeat"),
    }
    if let Some(dedup) = &table.dedup {
        let _ = write!(words, "; holds `{}` of the last {}", dedup.column, show_span(dedup.within));
    }
    words
}

struct Teller<'a> {
    plan: &'a Plan,
    seen: BTreeSet<NodeId>,
    text: &'a mut String,
}

impl Teller<'_> {
    fn line(&mut self, depth: usize, words: &str) {
        for _ in 0..depth {
            self.text.push_str("  ");
        }
        self.text.push_str(words);
        self.text.push('\n');
    }

    fn output(&mut self, output: &Output) {
        match output {
            Output::Rule { spec, node } => {
                self.line(0, &format!("rule {}  {}", spec.name, spec.place));
                if let Some(delay) = rule_delay(self.plan, spec) {
                    self.line(1, &format!("decided {} after the event time", show_span(delay)));
                }
                self.line(1, &episode_words(spec));
                if let Some((span, table)) = longest_silence(self.plan, *node) {
                    let words =
                        format!("a silent `{table}` without heartbeats adds up to {}", show_span(span));
                    self.line(1, &words);
                }
                self.node(*node, 1);
            }
            Output::Insert { spec, node, stateless, .. } => {
                self.line(0, &format!("insert into {}  {}", spec.table, spec.place));
                let ids =
                    if *stateless { "ids from source positions" } else { "ids from statement, key and time" };
                self.line(1, ids);
                self.node(*node, 1);
            }
        }
    }

    fn node(&mut self, id: NodeId, depth: usize) {
        let node = &self.plan.nodes[id];
        let named = self.plan.views.iter().find(|(_, (view, _))| *view == id).map(|(name, _)| name.clone());
        let moved = node.exchange.iter().any(Option::is_some);
        let plain = matches!(node.op, Op::Project { .. }) && !moved && named.is_none();
        if plain {
            return self.node(node.inputs[0], depth);
        }
        let mut words = named.as_ref().map_or(String::new(), |name| format!("view {name} "));
        if self.seen.contains(&id) && !node.inputs.is_empty() {
            let _ = write!(words, "{}#{id}, as above", name_of(&node.op));
            return self.line(depth, &words);
        }
        self.seen.insert(id);
        let _ = write!(words, "{}#{id}", name_of(&node.op));
        let held = self.held(node);
        if !held.is_empty() {
            let _ = write!(words, "  {held}");
        }
        if let Place::Shard(_) = node.place {
            words.push_str("  [shards]");
        }
        self.line(depth, &words);
        for (port, input) in node.inputs.iter().enumerate() {
            match &node.exchange[port] {
                Some(keys) => {
                    self.line(depth + 1, &format!("exchange by {}", list(keys)));
                    self.node(*input, depth + 2);
                }
                None => self.node(*input, depth + 1),
            }
        }
    }

    /// What an operator holds, in words.
    fn held(&self, node: &Node) -> String {
        let input = |port: usize| &self.plan.nodes[node.inputs[port]];
        match &node.op {
            Op::Source(table) => table.name.clone(),
            Op::Project { .. } | Op::Union => String::new(),
            Op::Filter(predicate) => shown(predicate),
            Op::Detect { outer, detector, residual, .. } => {
                let hash = detector.sha256().get(..12).unwrap_or_default();
                let left = if *outer { "left; " } else { "" };
                let mut words = format!("{left}model {} (sha256 {hash}…); holds nothing", detector.model());
                if let Some(residual) = residual {
                    let _ = write!(words, "; where {}", shown(residual));
                }
                words
            }
            Op::Aggregate { window: Some(window), group, .. } => {
                let delay = input(0).delays[input(0).stream.row_time];
                let keys: Vec<Expr> = group
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != window.position)
                    .map(|(_, key)| key.clone())
                    .collect();
                let each = if window.slide == window.size {
                    format!("window of {}", show_span(window.size))
                } else {
                    format!("window of {} each {}", show_span(window.size), show_span(window.slide))
                };
                format!(
                    "holds sums for {}each {each} that ended in the last {} or is open",
                    by(&keys),
                    show_span(delay)
                )
            }
            Op::Aggregate { group, time_keys, .. } => {
                let delay = time_keys.iter().map(|(_, time)| input(0).delays[*time]).min().unwrap_or(0);
                format!("holds groups of the last {} by {}", show_span(delay), list(group))
            }
            Op::Over { partition_by, order_time, functions } => {
                let preceding = functions
                    .iter()
                    .map(|f| match f {
                        OverExpr::Aggregate { preceding, .. } | OverExpr::Lag { preceding, .. } => *preceding,
                    })
                    .max()
                    .unwrap_or(0);
                let delay = input(0).delays[*order_time];
                format!(
                    "holds rows of the last {}{}",
                    show_span(preceding.saturating_add(delay)),
                    per(partition_by)
                )
            }
            Op::IntervalJoin { outer, on, times, before, after, residual } => {
                let (left, right) = (input(0).delays[times.0], input(1).delays[times.1]);
                let (lefts, rights): (Vec<Expr>, Vec<Expr>) = on.iter().cloned().unzip();
                let _ = rights;
                let mut words = format!(
                    "{}holds left rows of the last {}, right rows of the last {}{}",
                    if *outer { "left; " } else { "" },
                    show_span(left.max(right.saturating_add(*after)).max(0)),
                    show_span(right.max(left.saturating_add(*before)).max(0)),
                    per(&lefts),
                );
                if let Some(residual) = residual {
                    let _ = write!(words, "; where {}", shown(residual));
                }
                words
            }
            Op::AsofJoin { outer, on, times, max_age, .. } => {
                let (left, right) = (input(0).delays[times.0], input(1).delays[times.1]);
                let lefts: Vec<Expr> = on.iter().map(|(l, _)| l.clone()).collect();
                format!(
                    "{}holds left rows of the last {}, right rows of the last {}{}",
                    if *outer { "left; " } else { "" },
                    show_span(left.max(right)),
                    show_span(right.max(left).saturating_add(*max_age)),
                    per(&lefts),
                )
            }
            Op::ReferenceJoin { outer, on, relation, .. } => {
                let lefts: Vec<Expr> = on.iter().map(|(l, _)| l.clone()).collect();
                let delay = node.delays[node.stream.row_time];
                format!(
                    "{}with {} as of the row's time, by {}; holds the versions of the last {}",
                    if *outer { "left; " } else { "" },
                    self.plan.relations[*relation].name,
                    list(&lefts),
                    show_span(delay),
                )
            }
        }
    }
}

/// The operator's word and a blank; nothing for what only names columns.
fn name_of(op: &Op) -> String {
    if let Op::Project { .. } = op { String::new() } else { format!("{} ", op.name()) }
}

fn episode_words(spec: &RuleSpec) -> String {
    let options = &spec.options;
    if options.kind == RuleKind::Event {
        return "every row is an event; no state".into();
    }
    let mut words = String::from("holds one episode for each warehouse");
    for key in &options.key {
        let _ = write!(words, ", {key}");
    }
    for (span, what) in [
        (Some(options.fire_after).filter(|s| *s > 0), "NEW after firing for"),
        (Some(options.clear_after).filter(|s| *s > 0), "CLEARED after being clear for"),
        (options.no_data, "NO_DATA after silence of"),
    ] {
        if let Some(span) = span {
            let _ = write!(words, "; {what} {}", show_span(span));
        }
    }
    words
}

fn shown(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.char_indices().nth(EXPRESSION_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn per(exprs: &[Expr]) -> String {
    if exprs.is_empty() { String::new() } else { format!(" per {}", list(exprs)) }
}

fn by(exprs: &[Expr]) -> String {
    if exprs.is_empty() { String::new() } else { format!("{} in ", list(exprs)) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sql::{SourceFile, load, plan, read};

    fn planned(files: &[SourceFile]) -> Plan {
        let script = read(files).unwrap_or_else(|e| panic!("{e:?}"));
        plan::plan(&script).unwrap_or_else(|e| panic!("{e:?}"))
    }

    fn query(sql: &str) -> String {
        let tables = "
            CREATE TABLE a (warehouse TEXT NOT NULL, k TEXT, ts TIMESTAMP NOT NULL,
              WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (connector = 'memory', type = 'source')
              PARTITIONED BY (warehouse);
            CREATE TABLE b (warehouse TEXT NOT NULL, k TEXT, ts TIMESTAMP NOT NULL,
              WATERMARK FOR ts AS ts - INTERVAL '3 seconds') WITH (connector = 'memory', type = 'source')
              PARTITIONED BY (warehouse);";
        let file =
            SourceFile { name: "t.sql".into(), folder: String::new(), text: format!("{tables}\n{sql};") };
        explain(&planned(&[file]), None).unwrap()
    }

    #[test]
    fn state_bounds_are_spans_of_event_time() {
        let join = query(
            "SELECT a.k FROM a JOIN b ON a.warehouse = b.warehouse
             AND b.ts BETWEEN a.ts - INTERVAL '500 milliseconds' AND a.ts + INTERVAL '2 seconds'",
        );
        // A left row waits for b, late by 3 s, to pass 2 s after it; a right row for a, late by 1 s.
        assert!(
            join.contains("holds left rows of the last 5 s, right rows of the last 3 s per a.warehouse")
                || join.contains("holds left rows of the last 5 s, right rows of the last 3 s per warehouse"),
            "{join}"
        );
        let sharded = query("SELECT k, count(*) FROM a GROUP BY k, tumble(INTERVAL '10 seconds')");
        assert!(sharded.contains("exchange by k") && sharded.contains("[shards]"), "{sharded}");
        assert!(sharded.contains("window of 10 s that ended in the last 1 s or is open"), "{sharded}");
    }

    #[test]
    fn the_rule_pack_is_explained() {
        let plan = planned(&load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")).unwrap());
        let all = explain(&plan, None).unwrap();
        assert!(!all.contains("exchange by"), "{all}");
        for (rule, words) in [
            ("brand_mismatch", "decided 6 s after the event time"),
            ("barcode", "decided 1 s after the event time"),
            ("buffer_overflow", "holds one episode for each warehouse, unit_id; NEW after firing for 20 s"),
            ("camera_silent", "a silent `device_health` without heartbeats adds up to 15 s"),
            ("device_silent", "NO_DATA after silence of 30 s"),
        ] {
            let one = explain(&plan, Some(rule)).unwrap();
            assert!(one.contains(words), "{one}");
        }
        assert!(summary(&plan).contains("scans: rows up to 1 s out of order"), "{}", summary(&plan));
        assert!(explain(&plan, Some("buffer_fill")).unwrap().starts_with("view buffer_fill\n"));
        let unknown = explain(&plan, Some("barcod")).unwrap_err();
        assert_eq!(unknown.code(), Code::UnknownName);
        assert!(unknown.expectation().is_some_and(|e| e.contains("barcode")));
    }
}
