//! How an event looks to a person: one line, or aligned columns on a terminal.
//!
//! In:   event lines as topics hold them.
//! Out:  text without control characters, whatever the data says.

use std::fmt::Write as _;

use serde_json::Value;
use weir_contract::EventTime;

/// Text that cannot move the cursor, ring or colour: control characters as `\x1b`, `\n`, …
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Also what turns the direction of writing or hides itself.
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden {
            for e in c.escape_default() {
                out.push(e);
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// What is shown of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub time: EventTime,
    pub label: String,
    pub rule: String,
    /// Unit, else the key.
    pub who: String,
    pub reason: String,
    /// Recommendation with quantity and unit; empty where none.
    pub advice: String,
    /// Tells episodes apart.
    pub episode: String,
}

impl Shown {
    /// None where the line is not an event.
    pub fn of_line(line: &str) -> Option<Shown> {
        Shown::of(&serde_json::from_str(line).ok()?)
    }

    pub fn of(event: &Value) -> Option<Shown> {
        let text = |c: &str| event.get(c).and_then(Value::as_str).unwrap_or_default();
        let time = EventTime::parse(text("event_time"))?;
        let key = match event.get("key") {
            Some(Value::Array(parts)) => parts.iter().map(plain).collect::<Vec<_>>().join(" "),
            Some(other) => plain(other),
            None => String::new(),
        };
        let unit = text("unit_id");
        let who = if unit.is_empty() || key.contains(unit) { key } else { format!("{unit} {key}") };
        let mut advice = escaped(text("recommendation"));
        if let Some(quantity) = event.get("quantity").filter(|q| !q.is_null()) {
            let shown = quantity
                .as_f64()
                .map_or_else(|| plain(quantity), |q| format!("{}", (q * 10.0).round() / 10.0));
            let _ = write!(advice, " {shown} {}", escaped(text("quantity_unit")));
        }
        Some(Shown {
            time,
            label: escaped(text("label")),
            rule: escaped(text("rule")),
            who: escaped(&who),
            reason: escaped(text("reason")),
            advice: advice.trim().to_owned(),
            episode: escaped(text("episode_id")),
        })
    }

    /// One line: time, label, rule, key, reason, advice; blanks between them.
    pub fn line(&self) -> String {
        let mut line = format!("{} {} {} {}", self.time, self.label, self.rule, self.who);
        for part in [&self.reason, &self.advice] {
            if !part.is_empty() {
                line.push(' ');
                line.push_str(part);
            }
        }
        line
    }

    /// The same in columns that line up from event to event.
    pub fn row(&self) -> String {
        let mut row =
            format!("{:<27} {:<8} {:<18} {:<28}", self.time.to_string(), self.label, self.rule, self.who);
        for part in [&self.reason, &self.advice] {
            if !part.is_empty() {
                row.push(' ');
                row.push_str(part);
            }
        }
        row.trim_end().to_owned()
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({"event_time": "2026-03-02T08:00:00Z", "label": "NEW", "rule": "buffer_overflow", "unit_id": "MAD1_P_1",
               "key": ["MAD1_P_1"], "recommendation": "throttle_inflow", "quantity": 14.23, "quantity_unit": "items/min",
               "reason": null, "episode_id": "0a"})
    }

    #[test]
    fn a_line_says_what_to_do() {
        let shown = Shown::of(&event()).unwrap();
        assert_eq!(
            shown.line(),
            "2026-03-02T08:00:00Z NEW buffer_overflow MAD1_P_1 throttle_inflow 14.2 items/min"
        );
        assert!(shown.row().starts_with("2026-03-02T08:00:00Z        NEW      buffer_overflow    MAD1_P_1 "));
        assert_eq!(Shown::of(&json!({"label": "NEW"})), None);
        assert_eq!(Shown::of_line("no json"), None);
    }

    #[test]
    fn nothing_that_data_says_reaches_the_terminal_raw() {
        let mut hostile = event();
        hostile["reason"] = json!("\u{1b}[2J\u{7}a\nb\u{202e}");
        hostile["key"] = json!(["x\ty", 3]);
        let shown = Shown::of(&hostile).unwrap();
        for text in [shown.line(), shown.row()] {
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
            assert!(text.contains("\\u{1b}[2J"), "{text}");
        }
        assert_eq!(escaped("grün ✓"), "grün ✓");
    }
}
