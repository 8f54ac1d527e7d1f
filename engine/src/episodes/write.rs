//! Events from what was said: ids, columns, the record of the decision.
//!
//! In:   a [`Said`] and the row whose columns it carries, or a row of an event rule.
//! Out:  an [`Event`].
//! Owns: what ids are taken of, and the JSON in `decision`, `inputs`, `evidence`, `extra`.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use serde_json::{Map, Value, json};
use weir_contract::event::{Event, Id, Label};
use weir_contract::{EventTime, Result};

use super::facts::Facts;
use super::machine::{Cause, Said, Spans};
use crate::base::FOREVER;
use crate::rules::{Piece, Rule};
use crate::state::json;

/// The rows of one table that an output row rests on: event times from `time - before` to
/// `time + after`, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRange {
    pub table: String,
    pub before: i64,
    pub after: i64,
}

pub struct Writer {
    pub rule: Arc<Rule>,
    pub spans: Spans,
    /// `decided_at - event_time`.
    pub delay: i64,
    pub inputs: Vec<InputRange>,
}

/// Who an event is about and which one it is.
struct Identity {
    episode_id: Id,
    event_id: Id,
    seq: u64,
    label: Label,
    time: i64,
    /// Event time of the first row it rests on.
    root: i64,
    decision: Value,
}

/// See [`Writer::shown`].
pub struct Shown {
    pub quantity: Value,
    pub evidence: Value,
    pub extra: Map<String, Value>,
}

impl Writer {
    /// An event of a condition rule, with the columns of `row`.
    pub fn said(&self, facts: &Facts<'_>, row: usize, said: &Said) -> Result<Event> {
        let key = self.key(facts, row)?;
        let episode_id = self.id(facts, row, &key, &[json!(said.after.first)]);
        let time_or_null = |t: Option<i64>| t.map_or(Value::Null, json::time);
        let held = time_or_null(said.after.held_until(&self.spans));
        let fires = said.after.state == super::machine::State::Pending;
        let (fire_after, clear_after) = if fires { (held, Value::Null) } else { (Value::Null, held) };
        let no_data = Some(said.after.silent_at).filter(|t| *t < FOREVER);
        let decision = json!({
            "by": said.by.as_str(),
            "before": said.before.as_str(),
            "after": said.after.state.as_str(),
            "since": time_or_null(said.held_since),
            "row_time": json::time(facts.times.value(row)),
            "fire": facts.fire(row),
            "clear": facts.clear(row),
            "timers": {"fire_after": fire_after, "clear_after": clear_after, "no_data": time_or_null(no_data)},
        });
        let identity = Identity {
            event_id: Id::of(&json!([episode_id.to_string(), said.seq])),
            episode_id,
            seq: said.seq,
            label: said.label,
            time: said.time,
            root: said.after.root,
            decision,
        };
        self.event(facts, row, key, identity)
    }

    /// The event that a row of an event rule is; `ordinal` counts rows of equal rule, warehouse, key,
    /// time and reason.
    pub fn row(&self, facts: &Facts<'_>, row: usize, ordinal: u64) -> Result<Event> {
        let key = self.key(facts, row)?;
        let time = facts.times.value(row);
        let id = self.id(facts, row, &key, &[json!(time), json!(facts.reason.get(row)), json!(ordinal)]);
        let decision = json!({
            "by": Cause::Row.as_str(),
            "row_time": json::time(time),
            "ordinal": ordinal,
        });
        let (episode_id, event_id) = (id, id);
        let identity =
            Identity { episode_id, event_id, seq: 0, label: Label::New, time, root: time, decision };
        self.event(facts, row, key, identity)
    }

    pub(super) fn key(&self, facts: &Facts<'_>, row: usize) -> Result<Value> {
        let values = facts.columns.key.iter().map(|c| json::value(facts.batch.column(*c), row));
        values.collect::<Result<Vec<Value>>>().map(Value::Array)
    }

    pub(super) fn id(&self, facts: &Facts<'_>, row: usize, key: &Value, rest: &[Value]) -> Id {
        let mut parts = vec![json!(self.rule.name), json!(facts.warehouse.get(row)), key.clone()];
        parts.extend_from_slice(rest);
        Id::of(&Value::Array(parts))
    }

    fn event(&self, facts: &Facts<'_>, row: usize, key: Value, is: Identity) -> Result<Event> {
        let text = |t: Option<&str>| t.map(str::to_owned);
        let Shown { quantity, evidence, extra } = self.shown(facts, row)?;
        Ok(Event {
            event_id: is.event_id,
            episode_id: is.episode_id,
            seq: is.seq,
            rule: self.rule.name.clone(),
            rule_version: self.rule.version.clone(),
            warehouse: text(facts.warehouse.get(row)).unwrap_or_default(),
            unit_id: text(facts.unit_id.get(row)),
            key,
            label: is.label,
            severity: text(facts.severity(row)),
            event_time: EventTime(is.time),
            decided_at: EventTime(is.time.saturating_add(self.delay)),
            recommendation: text(facts.recommendation.get(row)),
            quantity,
            quantity_unit: text(facts.quantity_unit.get(row)),
            reason: text(facts.reason.get(row)),
            explain: self.explain(facts, row)?,
            decision: is.decision,
            conflict: Value::Null,
            suppression: Value::Null,
            suppressed_by: None,
            evidence,
            inputs: self.inputs(is.root, is.time),
            late_by: None,
            extra,
        })
    }

    /// The columns of a row that are JSON in an event.
    pub(super) fn shown(&self, facts: &Facts<'_>, row: usize) -> Result<Shown> {
        let at = |c: usize| json::value(facts.batch.column(c), row);
        let quantity = facts.columns.quantity.map(at).transpose()?.unwrap_or(Value::Null);
        let named = |c: usize| Ok((facts.batch.schema_ref().field(c).name().clone(), at(c)?));
        let seen: Vec<usize> = [facts.columns.frame_uri, facts.columns.boxes].into_iter().flatten().collect();
        let evidence = match seen.is_empty() {
            true => Value::Null,
            false => Value::Object(seen.into_iter().map(named).collect::<Result<Map<_, _>>>()?),
        };
        let extra = facts.columns.extra.iter().map(|c| named(*c)).collect::<Result<Map<_, _>>>()?;
        Ok(Shown { quantity, evidence, extra })
    }

    /// Per table the event times that decided: from what the episode's first row rests on to what the
    /// event does. One table may stand in several ranges; they are joined.
    fn inputs(&self, root: i64, time: i64) -> Value {
        let mut ranges: std::collections::BTreeMap<&str, (i64, i64)> = Default::default();
        for range in &self.inputs {
            let (from, to) = (root.saturating_sub(range.before), time.saturating_add(range.after));
            let seen = ranges.entry(&range.table).or_insert((from, to));
            *seen = (seen.0.min(from), seen.1.max(to));
        }
        let tables = ranges.into_iter().map(|(table, (from, to))| {
            (table.to_owned(), json!({"from": json::time(from), "to": json::time(to)}))
        });
        Value::Object(tables.collect())
    }

    fn explain(&self, facts: &Facts<'_>, row: usize) -> Result<Option<String>> {
        let Some(template) = &self.rule.explain else { return Ok(None) };
        let mut out = String::new();
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Column { name, digits } => {
                    if name == "severity" {
                        out.push_str(facts.severity(row).unwrap_or("unknown"));
                    } else if let Some(column) = facts.batch.column_by_name(name) {
                        show(column, row, *digits, &mut out)?;
                    }
                }
            }
        }
        Ok(Some(out))
    }
}

/// A value as people read it: NULL is `unknown`, a text has no quotes.
fn show(column: &ArrayRef, row: usize, digits: Option<usize>, out: &mut String) -> Result<()> {
    let value = json::value(column.as_ref() as &dyn Array, row)?;
    match (&value, digits) {
        (Value::Null, _) => out.push_str("unknown"),
        (Value::String(text), _) => out.push_str(text),
        (Value::Number(n), Some(digits)) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{:.digits$}", n.as_f64().unwrap_or(f64::NAN));
        }
        (other, _) => weir_contract::event::write_canonical(other, out),
    }
    Ok(())
}
