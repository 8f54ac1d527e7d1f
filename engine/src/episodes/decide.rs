//! Decide: a rule's final rows and its timers, in order of event time, to events.
//!
//! In:   rows of the rule's query, the frontier of its `event_time`, at a bounded end the highest event time.
//! Out:  events ordered by (event time, rows before timers, canonical order of rows or keys).
//! Owns: one machine a key; counts. Not the order of rows (`rows`), not the table of states (`machine`).
//!
//! D1  A row or timer takes part exactly when its time is below the frontier.
//! D2  Before a row is evaluated, its key's timers with an earlier deadline have run.
//! D3  At a bounded end a key's timers run to the program's highest event time, or to the key's own last
//!     row where that is later (a window's row may stand after the last record), inclusively.
//!
//! Start at `Decide::step`. Tests: `tests.rs`, against the naive twin in `twin.rs`.

use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::compute::{filter_record_batch, is_not_null};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use weir_contract::event::{Event, Label};
use weir_contract::{Code, Error, Result};

use super::decisions::{Decision, Evaluation, Placed};
use super::facts::Facts;
use super::keys::{Keys, STORED, Slot, Words};
use super::machine::{Cause, Machine, Said, Spans, State};
use super::rows::Rows;
use super::write::{InputRange, Writer};
use crate::base::{FOREVER, NOTHING, StreamSchema, internal_arrow};
use crate::rules::{Rule, RuleColumns};
use crate::state::{Loader, Saver};

/// First field of a snapshot; another layout gets another number.
const SNAPSHOT_VERSION: u64 = 1;

/// What to decide.
#[derive(Debug, Clone)]
pub struct DecideSpec {
    pub rule: Arc<Rule>,
    /// The stream of the rule's query.
    pub input: StreamSchema,
    /// Entry of `input.times` that is the rule's `event_time`.
    pub event_time: usize,
    /// `decided_at = event_time + delay`, microseconds.
    pub delay: i64,
    /// What an output row rests on, for the column `inputs`.
    pub inputs: Vec<InputRange>,
    /// Keeps every evaluation, for [`Decide::take_decisions`].
    pub keep_decisions: bool,
}

/// One rule's decisions over one task's or shard's rows.
pub struct Decide {
    writer: Writer,
    /// The rule's columns within the visible ones.
    columns: RuleColumns,
    rows: Rows,
    keys: Keys,
    frontier: i64,
    evaluations: u64,
    nowhere: u64,
    /// None where nobody asked.
    decisions: Option<Vec<Decision>>,
}

/// Something said, with the slot and the row that it was said of.
struct Draft {
    said: Said,
    slot: u32,
    source: u32,
}

impl Placed for Draft {
    fn place(&self) -> (u32, u32, i64, Cause) {
        (self.slot, self.source, self.said.time, self.said.by)
    }
}

/// How far timers run.
#[derive(Clone, Copy)]
enum Until {
    Frontier(i64),
    /// The program's highest event time.
    End(i64),
}

impl Until {
    /// Timers with a deadline below this run.
    fn limit(self, last_row: i64) -> i64 {
        match self {
            Until::Frontier(f) => f,
            Until::End(highest) => highest.max(last_row).saturating_add(1),
        }
    }
}

impl Decide {
    /// # Errors
    /// `W0302` where the spec is not that of the rule, `W0209` for column types that cannot be kept.
    pub fn new(spec: DecideSpec) -> Result<Decide> {
        let DecideSpec { rule, input, event_time, delay, inputs, keep_decisions } = spec;
        if input.times.get(event_time) != Some(&rule.columns.event_time) {
            let what = format!("rule `{}`: entry {event_time} of the times is not `event_time`", rule.name);
            return Err(Error::new(Code::Internal, what));
        }
        let time_type = input.schema.field(rule.columns.event_time).data_type();
        if !matches!(time_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            let what = format!("rule `{}`: event time is {time_type}", rule.name);
            return Err(Error::new(Code::Internal, what).expected("Timestamp(Microsecond)"));
        }
        let rows = Rows::new(&input, rule.columns.event_time);
        let columns = rule.columns.project(&rows.visible)?;
        let key_columns = std::iter::once(columns.warehouse).chain(columns.key.iter().copied()).collect();
        let keys = Keys::new(&rows.visible_schema, key_columns)
            .map_err(|e| Error::new(e.code(), format!("rule `{}`: {}", rule.name, e.what())))?;
        let o = &rule.options;
        let spans = Spans { fire_after: o.fire_after, clear_after: o.clear_after, no_data: o.no_data };
        Ok(Decide {
            writer: Writer { rule, spans, delay, inputs },
            columns,
            rows,
            keys,
            frontier: NOTHING,
            evaluations: 0,
            nowhere: 0,
            decisions: keep_decisions.then(Vec::new),
        })
    }

    /// Every evaluation since the last call, in the order of events.
    pub fn take_decisions(&mut self) -> Vec<Decision> {
        self.decisions.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes rows in any order, none below the frontier.
    ///
    /// # Errors
    /// `W0302` for a row below the frontier, without event time, or of another schema.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows.push(batch, self.frontier)
    }

    /// Evaluates rows and runs timers below `frontier` and appends what they say. A frontier that does not
    /// rise does nothing. `FOREVER` ends like [`Decide::finish`] with nothing known of other inputs.
    pub fn advance(&mut self, frontier: i64, events: &mut Vec<Event>) -> Result<()> {
        if frontier <= self.frontier {
            return Ok(());
        }
        let until = if frontier == FOREVER { Until::End(NOTHING) } else { Until::Frontier(frontier) };
        self.step(frontier, until, events)?;
        self.frontier = frontier;
        Ok(())
    }

    /// The inputs ended: evaluates all rows, and runs timers up to `highest`, the highest event time of
    /// the program's on-time rows and heartbeats.
    pub fn finish(&mut self, highest: i64, events: &mut Vec<Event>) -> Result<()> {
        self.step(FOREVER, Until::End(highest), events)?;
        self.frontier = FOREVER;
        Ok(())
    }

    /// Rows evaluated so far.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Rows that could not be judged because their `warehouse` is NULL.
    pub fn without_warehouse(&self) -> u64 {
        self.nowhere
    }

    /// Bytes held: rows that are not final, and keys.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.keys.bytes()
    }

    /// Keys in ACTIVE, CLEARING or NO_DATA. Costs a look at each key.
    pub fn open_episodes(&self) -> usize {
        self.keys.iter().filter(|(_, slot)| slot.machine.is_open()).count()
    }

    /// Keys with state.
    pub fn keys_held(&self) -> usize {
        self.keys.iter().count()
    }

    fn step(&mut self, frontier: i64, until: Until, events: &mut Vec<Event>) -> Result<()> {
        let batch = match self.rows.take_below(frontier)? {
            Some(batch) => self.with_warehouse(batch)?,
            None => None,
        };
        self.evaluations += batch.as_ref().map_or(0, |b| b.num_rows() as u64);
        if self.writer.rule.is_condition() {
            self.conditions(batch.as_ref(), until, events)
        } else if let Some(batch) = &batch {
            self.rows_as_events(batch, events)
        } else {
            Ok(())
        }
    }

    fn with_warehouse(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let warehouse = batch.column(self.columns.warehouse);
        if warehouse.null_count() == 0 {
            return Ok(Some(batch));
        }
        self.nowhere += warehouse.null_count() as u64;
        let known = is_not_null(warehouse).map_err(internal_arrow)?;
        let batch = filter_record_batch(&batch, &known).map_err(internal_arrow)?;
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    /// `kind = 'event'`. All rows of an instant are in one batch, so ordinals need no memory.
    fn rows_as_events(&mut self, batch: &RecordBatch, events: &mut Vec<Event>) -> Result<()> {
        let facts = Facts::bind(&self.writer.rule, &self.columns, batch)?;
        let slots = self.keys.find(batch)?;
        let mut equals: HashMap<(u32, Option<&str>), u64> = HashMap::new();
        for (row, &slot) in slots.iter().enumerate() {
            if row > 0 && facts.times.value(row) != facts.times.value(row - 1) {
                equals.clear();
            }
            let ordinal = equals.entry((slot, facts.reason.get(row))).or_insert(0);
            let event = self.writer.row(&facts, row, *ordinal)?;
            if let Some(decisions) = &mut self.decisions {
                decisions.push(self.writer.decision(&facts, row, &Evaluation::of_row(slot, row, &event))?);
            }
            events.push(event);
            *ordinal += 1;
        }
        self.keys.clear();
        Ok(())
    }

    fn conditions(
        &mut self,
        batch: Option<&RecordBatch>,
        until: Until,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let facts = batch.map(|b| Facts::bind(&self.writer.rule, &self.columns, b)).transpose()?;
        let spans = self.writer.spans;
        let mut drafts: Vec<Draft> = Vec::new();
        let mut evaluated = self.decisions.is_some().then(Vec::new);
        let mut touched: Vec<u32> = Vec::new();
        if let Some(facts) = &facts {
            let slots = self.keys.find(facts.batch)?;
            let times = facts.times.values();
            let mut from = 0;
            while from < slots.len() {
                let time = times[from];
                let to = from + times[from..].iter().take_while(|t| **t == time).count();
                let here = || (from..to).zip(&slots[from..to]);
                for (row, &at) in here() {
                    self.keys.slot(at)?.instant = row as u32;
                }
                for (row, &at) in here() {
                    let slot = self.keys.slot(at)?;
                    if slot.instant != row as u32 {
                        continue;
                    }
                    if slot.source == STORED {
                        touched.push(at);
                    }
                    let mut run = Run {
                        spans: &spans,
                        facts: Some(facts),
                        drafts: &mut drafts,
                        evaluated: evaluated.as_mut(),
                    };
                    run.timers(at, slot, time);
                    run.row(at, slot, facts, row);
                    run.timers(at, slot, time.saturating_add(1));
                }
                from = to;
            }
        }
        let mut run =
            Run { spans: &spans, facts: facts.as_ref(), drafts: &mut drafts, evaluated: evaluated.as_mut() };
        match until {
            Until::Frontier(frontier) => {
                for &at in &touched {
                    let slot = self.keys.slot(at)?;
                    run.timers(at, slot, frontier);
                }
                while let Some(at) = self.keys.pop_due(frontier) {
                    let slot = self.keys.slot(at)?;
                    run.timers(at, slot, frontier);
                    // A slot with a row in this batch is in the list already.
                    if slot.source == STORED {
                        touched.push(at);
                    }
                }
            }
            Until::End(_) => {
                touched = self.keys.iter().map(|(at, _)| at).collect();
                for &at in &touched {
                    let slot = self.keys.slot(at)?;
                    run.timers(at, slot, until.limit(slot.last_time));
                }
            }
        }
        self.in_order(facts.as_ref(), drafts, |facts, row, draft| {
            events.push(self.writer.said(facts, row, &draft.said)?);
            Ok(())
        })?;
        let mut decisions = Vec::new();
        self.in_order(facts.as_ref(), evaluated.unwrap_or_default(), |facts, row, evaluation| {
            decisions.push(self.writer.decision(facts, row, evaluation)?);
            Ok(())
        })?;
        if let Some(kept) = &mut self.decisions {
            kept.append(&mut decisions);
        }
        for &at in &touched {
            let slot = self.keys.slot(at)?;
            if let Some(facts) = facts.as_ref().filter(|_| slot.source != STORED) {
                let row = slot.source as usize;
                slot.latest.set(facts.severity(row), facts.recommendation.get(row));
            }
        }
        self.keys.settle(batch, &touched, &spans)
    }

    /// Each in the order of events, with the row that it was said of.
    fn in_order<T: Placed>(
        &self,
        facts: Option<&Facts<'_>>,
        mut items: Vec<T>,
        mut each: impl FnMut(&Facts<'_>, usize, &T) -> Result<()>,
    ) -> Result<()> {
        let by = |a: &T, b: &T| {
            let of_timer = |d: &T| d.by() != Cause::Row;
            (a.time(), of_timer(a)).cmp(&(b.time(), of_timer(b))).then_with(|| match of_timer(a) {
                true => self.keys.key(a.slot()).cmp(&self.keys.key(b.slot())),
                false => a.source().cmp(&b.source()),
            })
        };
        items.sort_by(by);
        let stored: Vec<u32> = items.iter().filter(|d| d.source() == STORED).map(|d| d.slot()).collect();
        let stored = if stored.is_empty() { None } else { Some(self.keys.stored(&stored)?) };
        let kept = stored.as_ref().map(|b| Facts::bind(&self.writer.rule, &self.columns, b)).transpose()?;
        let mut next_stored = 0;
        for item in &items {
            let (facts, row) = if item.source() == STORED {
                next_stored += 1;
                (kept.as_ref(), next_stored - 1)
            } else {
                (facts, item.source() as usize)
            };
            let facts = facts.ok_or_else(|| Error::new(Code::Internal, "an event has no row"))?;
            each(facts, row, item)?;
        }
        Ok(())
    }

    /// Writes all state. Equal state gives equal bytes, whatever slots the keys have.
    pub fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.u64(SNAPSHOT_VERSION);
        into.i64(self.frontier);
        into.u64(self.evaluations);
        into.u64(self.nowhere);
        self.rows.snapshot(into)?;
        let slots = self.keys.in_order();
        into.u64(slots.len() as u64);
        for &at in &slots {
            let slot = self.keys.slot(at)?;
            let m = &slot.machine;
            into.u64(m.state as u64);
            for time in [m.since, m.first, m.root, m.silent_at, slot.last_time] {
                into.i64(time);
            }
            into.u64(m.seq);
            for word in [&slot.told.severity, &slot.told.recommendation] {
                into.u64(u64::from(word.is_some()));
                into.text(word.as_deref().unwrap_or(""));
            }
        }
        let latest = if slots.is_empty() { None } else { Some(self.keys.stored(&slots)?) };
        into.batches(&self.rows.visible_schema, &latest)
    }

    /// Reads what [`Decide::snapshot`] wrote, into a fresh `Decide` of the same spec.
    ///
    /// # Errors
    /// `W0502` for bytes that are no such snapshot.
    pub fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        let damaged = |what: &str| Error::new(Code::Damaged, format!("a snapshot of episodes {what}"));
        if from.u64()? != SNAPSHOT_VERSION {
            return Err(damaged("has a version that this build does not know"));
        }
        self.frontier = from.i64()?;
        self.evaluations = from.u64()?;
        self.nowhere = from.u64()?;
        self.rows.restore(from, self.frontier)?;
        self.keys.clear();
        let count = from.u64()?;
        let mut read = Vec::new();
        for _ in 0..count {
            let state = from.u64()?;
            let state = State::ALL.get(state as usize).ok_or_else(|| damaged("has an unknown state"))?;
            let [since, first, root, silent_at, last_time] =
                [from.i64()?, from.i64()?, from.i64()?, from.i64()?, from.i64()?];
            let machine = Machine { state: *state, since, first, root, seq: from.u64()?, silent_at };
            let mut words = [None, None];
            for word in &mut words {
                let there = from.u64()? != 0;
                let text = from.text()?;
                *word = there.then(|| text.into());
            }
            let [severity, recommendation] = words;
            read.push((machine, last_time, Words { severity, recommendation }));
        }
        let batches = from.batches()?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows != read.len() || batches.len() > 1 {
            return Err(damaged("has not one row for each key"));
        }
        let Some(batch) = batches.first() else { return Ok(()) };
        let (have, want) = (batch.schema(), &self.rows.visible_schema);
        if !have.fields().iter().map(|f| f.data_type()).eq(want.fields().iter().map(|f| f.data_type())) {
            return Err(damaged("is of another rule"));
        }
        let facts = Facts::bind(&self.writer.rule, &self.columns, batch)?;
        let slots = self.keys.find(batch)?;
        self.keys.store(batch.columns(), &slots)?;
        for ((row, &at), (machine, last_time, told)) in slots.iter().enumerate().zip(read) {
            let slot = self.keys.slot(at)?;
            (slot.machine, slot.last_time, slot.told) = (machine, last_time, told);
            slot.latest.set(facts.severity(row), facts.recommendation.get(row));
        }
        self.keys.requeue(&self.writer.spans);
        Ok(())
    }
}

/// Moves machines and drafts what they say.
struct Run<'r, 'f> {
    spans: &'r Spans,
    facts: Option<&'r Facts<'f>>,
    drafts: &'r mut Vec<Draft>,
    evaluated: Option<&'r mut Vec<Evaluation>>,
}

impl Run<'_, '_> {
    /// Runs a slot's timers with a deadline below `limit`.
    fn timers(&mut self, at: u32, slot: &mut Slot, limit: i64) {
        let mut say = Vec::new();
        while let Some((deadline, cause)) = slot.machine.due(self.spans).filter(|(d, _)| *d < limit) {
            let before = slot.machine.state;
            slot.machine.timer(self.spans, deadline, cause, &mut say);
            if let Some(evaluated) = &mut self.evaluated {
                evaluated.push(Evaluation::new(at, slot, (deadline, cause), before, &say));
            }
            for said in say.drain(..) {
                match (said.label, self.facts.filter(|_| slot.source != STORED)) {
                    (Label::New, None) => slot.told = slot.latest.clone(),
                    (Label::New, Some(facts)) => {
                        let row = slot.source as usize;
                        slot.told.set(facts.severity(row), facts.recommendation.get(row));
                    }
                    (Label::Cleared, _) => slot.told = Words::default(),
                    _ => {}
                }
                self.drafts.push(Draft { said, slot: at, source: slot.source });
            }
        }
    }

    /// Evaluates the row that counts at its instant.
    fn row(&mut self, at: u32, slot: &mut Slot, facts: &Facts<'_>, row: usize) {
        let time = facts.times.value(row);
        let (severity, recommendation) = (facts.severity(row), facts.recommendation.get(row));
        let mut say = Vec::new();
        let before = slot.machine.state;
        slot.machine.row(self.spans, time, facts.fire(row), facts.clear(row), &mut say);
        if say.iter().any(|said: &Said| said.label == Label::Ongoing) {
            slot.told.set(severity, recommendation);
        }
        if slot.machine.state == State::Active && !slot.told.are(severity, recommendation) {
            slot.machine.ongoing(time, &mut say);
            slot.told.set(severity, recommendation);
        }
        (slot.source, slot.last_time) = (row as u32, time);
        if let Some(evaluated) = &mut self.evaluated {
            evaluated.push(Evaluation::new(at, slot, (time, Cause::Row), before, &say));
        }
        self.drafts.extend(say.into_iter().map(|said| Draft { said, slot: at, source: row as u32 }));
    }
}
