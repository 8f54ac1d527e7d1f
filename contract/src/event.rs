//! Events, version 1: what a rule said about a key at an event time.
//!
//! The columns, their order, the ids and the hash are `semantics.md` 8. No column comes from a
//! wall clock, so the same logs give the same bytes.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::time::EventTime;

/// The columns of an event in the order of its JSON object.
pub const COLUMNS: [&str; 25] = [
    "event_id",
    "episode_id",
    "seq",
    "rule",
    "rule_version",
    "warehouse",
    "unit_id",
    "key",
    "label",
    "severity",
    "event_time",
    "decided_at",
    "recommendation",
    "quantity",
    "quantity_unit",
    "reason",
    "explain",
    "decision",
    "conflict",
    "suppression",
    "suppressed_by",
    "evidence",
    "inputs",
    "late_by",
    "extra",
];

/// What an event says about its episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    New,
    Ongoing,
    Cleared,
    Suppressed,
    NoData,
}

impl Label {
    pub fn as_str(self) -> &'static str {
        match self {
            Label::New => "NEW",
            Label::Ongoing => "ONGOING",
            Label::Cleared => "CLEARED",
            Label::Suppressed => "SUPPRESSED",
            Label::NoData => "NO_DATA",
        }
    }
}

/// A float as JSON has it: a number in its shortest round-trip form, or the text `NaN`, `Infinity`,
/// `-Infinity`.
pub fn number(value: f64) -> Value {
    let unwritable = || match value {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    serde_json::Number::from_f64(value).map_or_else(|| Value::from(unwritable()), Value::Number)
}

/// Appends compact JSON with the keys of all objects sorted by their bytes, whatever order the
/// `Map` of this build keeps.
pub fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for (i, key) in keys.into_iter().enumerate() {
                out.push(if i == 0 { '{' } else { ',' });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// [`write_canonical`] into a text of its own.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

/// A 128-bit id: the first half of a sha256, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// The id of a compact JSON array; times in it are integers of microseconds.
    pub fn of(parts: &Value) -> Id {
        debug_assert!(parts.is_array(), "an id is taken of an array");
        let digest = Sha256::digest(canonical(parts).as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Id(id)
    }

    pub fn parse(hex: &str) -> Option<Id> {
        let bytes = hex.as_bytes();
        if bytes.len() != 32 {
            return None;
        }
        let mut id = [0; 16];
        for (out, pair) in id.iter_mut().zip(bytes.chunks(2)) {
            let digit = |c: u8| (c as char).to_digit(16).filter(|_| !c.is_ascii_uppercase());
            *out = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Id(id))
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// One row of the output. `key` is the array of the key columns' values.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub event_id: Id,
    pub episode_id: Id,
    pub seq: u64,
    pub rule: String,
    pub rule_version: String,
    pub warehouse: String,
    pub unit_id: Option<String>,
    pub key: Value,
    pub label: Label,
    pub severity: Option<String>,
    pub event_time: EventTime,
    pub decided_at: EventTime,
    pub recommendation: Option<String>,
    /// Number, or "NaN", "Infinity", "-Infinity"; null where the rule claims none.
    pub quantity: Value,
    pub quantity_unit: Option<String>,
    pub reason: Option<String>,
    pub explain: Option<String>,
    pub decision: Value,
    pub conflict: Value,
    pub suppression: Value,
    pub suppressed_by: Option<String>,
    pub evidence: Value,
    pub inputs: Value,
    pub late_by: Option<i64>,
    pub extra: Map<String, Value>,
}

impl Event {
    /// One compact JSON object, columns in the contract's order, keys of nested objects sorted,
    /// numbers in their shortest round-trip form; no newline.
    pub fn to_json_line(&self) -> String {
        let text = |t: &Option<String>| t.clone().map_or(Value::Null, Value::String);
        let values: [Value; 25] = [
            Value::String(self.event_id.to_string()),
            Value::String(self.episode_id.to_string()),
            Value::from(self.seq),
            Value::String(self.rule.clone()),
            Value::String(self.rule_version.clone()),
            Value::String(self.warehouse.clone()),
            text(&self.unit_id),
            self.key.clone(),
            Value::String(self.label.as_str().into()),
            text(&self.severity),
            Value::String(self.event_time.to_string()),
            Value::String(self.decided_at.to_string()),
            text(&self.recommendation),
            self.quantity.clone(),
            text(&self.quantity_unit),
            text(&self.reason),
            text(&self.explain),
            self.decision.clone(),
            self.conflict.clone(),
            self.suppression.clone(),
            text(&self.suppressed_by),
            self.evidence.clone(),
            self.inputs.clone(),
            self.late_by.map_or(Value::Null, Value::from),
            Value::Object(self.extra.clone()),
        ];
        let mut line = String::with_capacity(512);
        for (column, value) in COLUMNS.iter().zip(values) {
            line.push(if line.is_empty() { '{' } else { ',' });
            line.push('"');
            line.push_str(column);
            line.push_str("\":");
            write_canonical(&value, &mut line);
        }
        line.push('}');
        line
    }

    /// The message key of an event topic: a compact JSON array of warehouse and key.
    pub fn message_key(&self) -> String {
        canonical(&Value::Array(vec![Value::String(self.warehouse.clone()), self.key.clone()]))
    }
}

/// Hashes events whatever the order they are given in: their JSON lines, sorted by
/// `(rule, event_time, warehouse, key, seq, event_id)`, each followed by a newline.
#[derive(Debug, Default)]
pub struct EventsHash {
    lines: Vec<(SortKey, String)>,
}

type SortKey = (String, i64, String, String, u64, String);

impl EventsHash {
    pub fn add(&mut self, event: &Event) {
        let key = (
            event.rule.clone(),
            event.event_time.0,
            event.warehouse.clone(),
            canonical(&event.key),
            event.seq,
            event.event_id.to_string(),
        );
        self.lines.push((key, event.to_json_line()));
    }

    /// Adds a line read back from a sink. `None` where it is not an event.
    pub fn add_line(&mut self, line: &str) -> Option<()> {
        let v: Value = serde_json::from_str(line).ok()?;
        let text = |c: &str| v.get(c)?.as_str().map(str::to_owned);
        let time = EventTime::parse(v.get("event_time")?.as_str()?)?;
        let key = (
            text("rule")?,
            time.0,
            text("warehouse")?,
            raw_column(line, "key")?.to_owned(),
            v.get("seq")?.as_u64()?,
            text("event_id")?,
        );
        self.lines.push((key, line.to_owned()));
        Some(())
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The sorted lines, one event each.
    pub fn sorted_lines(&mut self) -> impl Iterator<Item = &str> {
        self.lines.sort();
        self.lines.iter().map(|(_, line)| line.as_str())
    }

    /// 64 hex digits.
    pub fn sha256(&mut self) -> String {
        let mut hash = Sha256::new();
        for line in self.sorted_lines() {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// The text of one column of a JSON line as it stands there: a float that is parsed and written again
/// may come back another one, and a sort key must not.
fn raw_column<'a>(line: &'a str, column: &str) -> Option<&'a str> {
    let bytes = line.as_bytes();
    let skip_blanks = |at: usize| at + bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let text_end = |at: usize| -> Option<usize> {
        let mut i = at + 1;
        while *bytes.get(i)? != b'"' {
            i += if bytes[i] == b'\\' { 2 } else { 1 };
        }
        Some(i + 1)
    };
    let mut at = skip_blanks(0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    loop {
        let name = skip_blanks(at + 1);
        if bytes.get(name) != Some(&b'"') {
            return None;
        }
        let name_end = text_end(name)?;
        let colon = skip_blanks(name_end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let from = skip_blanks(colon + 1);
        let (mut to, mut depth) = (from, 0usize);
        loop {
            match *bytes.get(to)? {
                b'"' => to = text_end(to)? - 1,
                b'[' | b'{' => depth += 1,
                b',' | b'}' if depth == 0 => break,
                b']' | b'}' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            to += 1;
        }
        if line[name + 1..name_end - 1] == *column {
            return Some(line[from..to].trim_end());
        }
        if bytes[to] == b'}' {
            return None;
        }
        at = to;
    }
}

/// The first 64 bits, as hex, of a sha256 over a rule's text: its version.
pub fn version_of(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..8].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
