//! The state machine of one key of a condition rule, as two tables.
//!
//! In:   the key's rows in order (one an instant), and its timers that are due.
//! Out:  [`Said`]: what has to be told, with the machine as it is after it.
//! Owns: states, timers, `seq`. Not the rows' columns.
//!
//! Two timers due at one instant run in the order `fire_after` or `clear_after`, then `no_data`: what was
//! held for its whole span is told before the silence.

use crate::base::FOREVER;
use weir_contract::event::Label;

/// | state    | meaning                                                        |
/// |----------|----------------------------------------------------------------|
/// | Ok       | nothing is wrong                                               |
/// | Pending  | fires, not yet for `fire_after`                                |
/// | Active   | told as NEW                                                    |
/// | Clearing | clear, not yet for `clear_after`                               |
/// | Silent   | no row for `no_data`, an episode of its own                    |
/// | Muted    | no row for `no_data` within a running episode                  |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ok = 0,
    Pending = 1,
    Active = 2,
    Clearing = 3,
    Silent = 4,
    Muted = 5,
}

use State::{Active, Clearing, Muted, Ok, Pending, Silent};

impl State {
    pub const ALL: [State; 6] = [Ok, Pending, Active, Clearing, Silent, Muted];

    pub fn as_str(self) -> &'static str {
        match self {
            Ok => "OK",
            Pending => "PENDING",
            Active => "ACTIVE",
            Clearing => "CLEARING",
            Silent | Muted => "NO_DATA",
        }
    }
}

/// What a row does, by state (rows) and by what it says (columns). `Silent` and `Muted` end before the
/// row is evaluated, so they have no line.
const ON_ROW: [[State; 5]; 4] = [
    // fire     clear     not clear  clear unknown  fire unknown
    [Pending, Ok, Ok, Ok, Ok],
    [Pending, Ok, Ok, Ok, Pending],
    [Active, Clearing, Active, Active, Active],
    [Active, Clearing, Active, Clearing, Clearing],
];

/// The next state, and what is told about it.
type Move = (State, Option<Label>);

/// What a timer does, by state (rows) and [`Cause`] (columns); `None` where it cannot run.
const ON_TIMER: [[Option<Move>; 3]; 6] = [
    // fire_after                      clear_after                     no_data
    [None, None, Some((Silent, Some(Label::NoData)))],
    [Some((Active, Some(Label::New))), None, Some((Ok, None))],
    [None, None, Some((Muted, Some(Label::NoData)))],
    [None, Some((Ok, Some(Label::Cleared))), Some((Muted, Some(Label::NoData)))],
    [None, None, None],
    [None, None, None],
];

/// What made the machine move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    FireAfter = 0,
    ClearAfter = 1,
    NoData = 2,
    Row = 3,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::FireAfter => "fire_after",
            Cause::ClearAfter => "clear_after",
            Cause::NoData => "no_data",
            Cause::Row => "row",
        }
    }
}

/// The rule's timers in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    pub fire_after: i64,
    pub clear_after: i64,
    pub no_data: Option<i64>,
}

/// One key. Times are event time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub state: State,
    /// When the state was entered; nothing in `Ok`, which is as good as no machine.
    pub since: i64,
    /// The episode's first PENDING time (for an own NO_DATA its deadline): its id.
    pub first: i64,
    /// Event time of the first row that the episode rests on.
    pub root: i64,
    /// `seq` of the next event.
    pub seq: u64,
    /// Deadline of `no_data`; `FOREVER` while it does not run.
    pub silent_at: i64,
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub label: Label,
    pub time: i64,
    pub by: Cause,
    pub before: State,
    /// When `before` was entered; nothing for `Ok`.
    pub held_since: Option<i64>,
    pub seq: u64,
    /// The machine after the change.
    pub after: Machine,
}

impl Default for Machine {
    fn default() -> Self {
        Machine { state: Ok, since: 0, first: 0, root: 0, seq: 0, silent_at: FOREVER }
    }
}

impl Machine {
    /// Whether forgetting the key changes nothing.
    pub fn is_idle(&self) -> bool {
        self.state == Ok && self.silent_at == FOREVER
    }

    pub fn is_open(&self) -> bool {
        !matches!(self.state, Ok | Pending)
    }

    /// The next timer and its deadline.
    pub fn due(&self, spans: &Spans) -> Option<(i64, Cause)> {
        let held = match self.state {
            Pending => Some((self.since.saturating_add(spans.fire_after), Cause::FireAfter)),
            Clearing => Some((self.since.saturating_add(spans.clear_after), Cause::ClearAfter)),
            _ => None,
        };
        match held {
            Some((at, _)) if at > self.silent_at => Some((self.silent_at, Cause::NoData)),
            None if self.silent_at < FOREVER => Some((self.silent_at, Cause::NoData)),
            held => held,
        }
    }

    /// Deadline of the timer that the state holds, for the record of a decision.
    pub fn held_until(&self, spans: &Spans) -> Option<i64> {
        match self.state {
            Pending => Some(self.since.saturating_add(spans.fire_after)),
            Clearing => Some(self.since.saturating_add(spans.clear_after)),
            _ => None,
        }
    }

    /// Evaluates a row. `clear` is the rule's own, or its default `fire IS FALSE`.
    pub fn row(
        &mut self,
        spans: &Spans,
        time: i64,
        fire: Option<bool>,
        clear: Option<bool>,
        said: &mut Vec<Said>,
    ) {
        self.silent_at = spans.no_data.map_or(FOREVER, |span| time.saturating_add(span));
        match self.state {
            Silent => self.tell(Label::Cleared, time, Cause::Row, Ok, said),
            Muted => self.tell(Label::Ongoing, time, Cause::Row, Active, said),
            _ => {}
        }
        let says = match (fire, clear) {
            (Some(true), _) => 0,
            (Some(false), Some(true)) => 1,
            (Some(false), Some(false)) => 2,
            (Some(false), None) => 3,
            (None, _) => 4,
        };
        let next = ON_ROW[self.state as usize][says];
        if self.state == Ok && next == Pending {
            (self.first, self.root, self.seq) = (time, time, 0);
        }
        self.enter(next, time);
    }

    /// Tells that an ACTIVE episode changed what it says.
    pub fn ongoing(&mut self, time: i64, said: &mut Vec<Said>) {
        debug_assert_eq!(self.state, Active, "only an active episode goes on");
        self.tell(Label::Ongoing, time, Cause::Row, Active, said);
    }

    /// Runs the timer that [`Machine::due`] gave.
    pub fn timer(&mut self, spans: &Spans, at: i64, cause: Cause, said: &mut Vec<Said>) {
        let column = cause as usize;
        let Some((next, label)) = ON_TIMER[self.state as usize].get(column).copied().flatten() else {
            debug_assert!(false, "{cause:?} is not due in {:?}", self.state);
            self.silent_at = FOREVER;
            return;
        };
        if cause == Cause::NoData {
            self.silent_at = FOREVER;
            if next == Silent {
                let last_row = at.saturating_sub(spans.no_data.unwrap_or(0));
                (self.first, self.root, self.seq) = (at, last_row, 0);
            }
        }
        match label {
            Some(label) => self.tell(label, at, cause, next, said),
            None => self.enter(next, at),
        }
    }

    fn enter(&mut self, next: State, time: i64) {
        if next != self.state {
            (self.state, self.since) = (next, time);
        }
    }

    fn tell(&mut self, label: Label, time: i64, by: Cause, next: State, said: &mut Vec<Said>) {
        let before = self.state;
        let held_since = (before != Ok).then_some(self.since);
        let seq = self.seq;
        self.seq += 1;
        self.enter(next, time);
        said.push(Said { label, time, by, before, held_since, seq, after: *self });
    }
}
