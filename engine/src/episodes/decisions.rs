//! Decisions: every evaluation of a rule, told or not, so that "why not" has an answer.
//!
//! In:   what a machine did with a row or a timer, and the row.
//! Out:  [`Decision`], one JSON object: who, when, what moved, from where to where, what was said.
//! Owns: the columns of the stream `{env}.decisions` and its ids. Not the machine.
//!
//! | column | is |
//! |---|---|
//! | `decision_id` | of [rule, warehouse, key, event time, by]; for a row of an event rule its `event_id` |
//! | `rule`, `rule_version`, `warehouse`, `unit_id`, `key` | as in events |
//! | `event_time` | the row's, for a timer its deadline; `decided_at` is that plus the plan's delay |
//! | `by` | `row`, `fire_after`, `clear_after` or `no_data` |
//! | `before`, `after` | states |
//! | `fire`, `clear` | of the deciding row |
//! | `label`, `episode_id`, `seq` | of the event that was told; NULL where none was |
//! | `severity`, `recommendation`, `quantity`, `quantity_unit`, `reason`, `evidence`, `extra` | the row's |

use serde_json::{Value, json};
use weir_contract::Result;
use weir_contract::event::{Event, Id, Label, canonical};

use super::facts::Facts;
use super::keys::Slot;
use super::machine::{Cause, Said, State};
use super::write::Writer;
use crate::state::json;

/// One evaluation as a record.
#[derive(Debug, Clone)]
pub struct Decision {
    pub id: Id,
    /// Message key: as an event's.
    pub key: String,
    pub decided_at: i64,
    /// One JSON object.
    pub line: String,
}

/// Something at a key and an instant that has to be put in order: slot, row (or stored), time, cause.
pub trait Placed {
    fn place(&self) -> (u32, u32, i64, Cause);

    fn slot(&self) -> u32 {
        self.place().0
    }

    fn source(&self) -> u32 {
        self.place().1
    }

    fn time(&self) -> i64 {
        self.place().2
    }

    fn by(&self) -> Cause {
        self.place().3
    }
}

/// A row or a timer that the machine took.
pub struct Evaluation {
    slot: u32,
    source: u32,
    time: i64,
    by: Cause,
    before: State,
    after: State,
    /// Label, episode's first time and `seq` of what was said last.
    said: Option<(Label, i64, u64)>,
    /// An event rule's row is its event.
    event: Option<(Id, Id)>,
}

impl Evaluation {
    pub fn new(at: u32, slot: &Slot, when: (i64, Cause), before: State, said: &[Said]) -> Self {
        let (time, by) = when;
        let said = said.last().map(|s| (s.label, s.after.first, s.seq));
        Self { slot: at, source: slot.source, time, by, before, after: slot.machine.state, said, event: None }
    }

    pub fn of_row(slot: u32, row: usize, event: &Event) -> Self {
        let (by, before, after) = (Cause::Row, State::Ok, State::Ok);
        let said = Some((event.label, 0, event.seq));
        let event_ids = Some((event.event_id, event.episode_id));
        Self { slot, source: row as u32, time: event.event_time.0, by, before, after, said, event: event_ids }
    }
}

impl Placed for Evaluation {
    fn place(&self) -> (u32, u32, i64, Cause) {
        (self.slot, self.source, self.time, self.by)
    }
}

impl Writer {
    /// The record of one evaluation, with the columns of `row`.
    pub fn decision(&self, facts: &Facts<'_>, row: usize, is: &Evaluation) -> Result<Decision> {
        let key = self.key(facts, row)?;
        let shown = self.shown(facts, row)?;
        let id = match is.event {
            Some((event_id, _)) => event_id,
            None => self.id(facts, row, &key, &[json!(is.time), json!(is.by.as_str())]),
        };
        let episode = match (is.event, is.said) {
            (Some((_, episode)), _) => Some(episode),
            (None, Some((_, first, _))) => Some(self.id(facts, row, &key, &[json!(first)])),
            (None, None) => None,
        };
        let condition = self.rule.is_condition();
        let decided_at = is.time.saturating_add(self.delay);
        let value = json!({
            "decision_id": id.to_string(),
            "rule": self.rule.name,
            "rule_version": self.rule.version,
            "warehouse": facts.warehouse.get(row),
            "unit_id": facts.unit_id.get(row),
            "key": key,
            "event_time": json::time(is.time),
            "decided_at": json::time(decided_at),
            "by": is.by.as_str(),
            "before": is.before.as_str(),
            "after": is.after.as_str(),
            "fire": if condition { json!(facts.fire(row)) } else { Value::Null },
            "clear": if condition { json!(facts.clear(row)) } else { Value::Null },
            "label": is.said.map(|(label, _, _)| label.as_str()),
            "episode_id": episode.map(|id| id.to_string()),
            "seq": is.said.map(|(_, _, seq)| seq),
            "severity": facts.severity(row),
            "recommendation": facts.recommendation.get(row),
            "quantity": shown.quantity,
            "quantity_unit": facts.quantity_unit.get(row),
            "reason": facts.reason.get(row),
            "evidence": shown.evidence,
            "extra": Value::Object(shown.extra),
        });
        let message_key = canonical(&json!([facts.warehouse.get(row), value["key"]]));
        Ok(Decision { id, key: message_key, decided_at, line: canonical(&value) })
    }
}
