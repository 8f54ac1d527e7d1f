//! What came of a simulated day: planted against found, the two sums, delays, where to look further.

use std::fmt::Write as _;

use serde_json::{Value, json};
use weir_contract::event::EventsHash;
use weir_contract::{Code, Error, Result};
use weir_engine::watermark::Counts;
use weir_sim::{SCORED_KINDS, Score, Truth};

/// Misses and false events that are explained one by one.
const EXPLAINED_MAX: usize = 12;

/// The result of a demo.
#[derive(Debug)]
pub struct Summary {
    pub seed: u64,
    pub counts: Counts,
    pub score: Score,
    pub events: usize,
    pub sha: String,
}

impl Summary {
    /// Scores the events that were heard.
    pub fn of(truth: &Truth, counts: Counts, heard: &mut EventsHash) -> Result<Summary> {
        counts.check()?;
        let events = heard
            .sorted_lines()
            .map(serde_json::from_str)
            .collect::<std::result::Result<Vec<Value>, _>>()
            .map_err(|e| Error::new(Code::Internal, format!("an event is no JSON object: {e}")))?;
        let score = Score::of(truth, &events);
        Ok(Summary { seed: truth.seed, counts, score, events: events.len(), sha: heard.sha256() })
    }

    /// One compact object, names in the order of the contract.
    pub fn to_json_line(&self) -> String {
        let c = &self.counts;
        let scored = self.score.counts();
        let parts: [(&str, Value); 16] = [
            ("seed", json!(self.seed)),
            ("records", json!(c.records)),
            ("rows", json!(c.rows)),
            ("heartbeats", json!(c.heartbeats)),
            ("rejects", json!(c.rejects)),
            ("processed", json!(c.processed)),
            ("late", json!(c.late)),
            ("duplicates", json!(c.duplicates)),
            ("planted", scored["planted"].clone()),
            ("found", scored["found"].clone()),
            ("missed", scored["missed"].clone()),
            ("false", scored["false"].clone()),
            ("unseen", scored["unseen"].clone()),
            ("masked", scored["masked"].clone()),
            ("events", json!(self.events)),
            ("events_sha256", json!(self.sha)),
        ];
        let fields: Vec<String> = parts.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// The same for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let c = &self.counts;
        let _ = writeln!(
            text,
            "{:<18} {:>8} {:>8} {:>8} {:>8}",
            "incidents", "planted", "found", "missed", "false"
        );
        let of =
            |map: &std::collections::BTreeMap<String, u64>, kind: &str| map.get(kind).copied().unwrap_or(0);
        for kind in SCORED_KINDS {
            let s = &self.score;
            let (p, f) = (of(&s.planted, kind), of(&s.found, kind));
            let _ = writeln!(
                text,
                "{kind:<18} {p:>8} {f:>8} {:>8} {:>8}",
                of(&s.missed, kind),
                of(&s.false_events, kind)
            );
        }
        for (name, map) in [("unseen", &self.score.unseen), ("masked", &self.score.masked)] {
            if !map.is_empty() {
                let list: Vec<String> = map.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
                let _ = writeln!(text, "{name:<18} {}", list.join(", "));
            }
        }
        for (what, lines) in [("missed", &self.score.misses), ("false", &self.score.falses)] {
            for line in lines.iter().take(EXPLAINED_MAX) {
                let _ = writeln!(text, "  {what}: {line}");
            }
            if lines.len() > EXPLAINED_MAX {
                let _ = writeln!(text, "  {what}: … and {} more", lines.len() - EXPLAINED_MAX);
            }
        }
        let _ = writeln!(
            text,
            "\nrecords {} = {} of rows + {} heartbeats + {} rejects",
            c.records, c.row_records, c.heartbeats, c.rejects
        );
        let _ = writeln!(
            text,
            "rows    {} = {} processed + {} late + {} duplicates",
            c.rows, c.processed, c.late, c.duplicates
        );
        let _ = writeln!(text, "\n{:<18} {:>12} {:>12} {:>6}", "onset to NEW", "median s", "95th s", "n");
        if let Value::Object(rules) = self.score.delay_table() {
            for (rule, delays) in &rules {
                let line = &delays["decided"];
                let _ = writeln!(
                    text,
                    "{rule:<18} {:>12} {:>12} {:>6}",
                    seconds(&line["median"]),
                    seconds(&line["p95"]),
                    line["n"]
                );
            }
        }
        let _ = writeln!(text, "\nevents {}   events_sha256 {}", self.events, self.sha);
        text
    }
}

fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |s| format!("{s:.1}"))
}

#[cfg(test)]
mod tests {
    use weir_contract::EventTime;

    use super::*;

    fn truth() -> Truth {
        Truth {
            seed: 7,
            from: EventTime(0),
            to: EventTime(60_000_000),
            stations: 1,
            units: 1,
            incidents: vec![],
        }
    }

    #[test]
    fn the_json_line_has_the_names_of_the_contract_in_order() {
        let counts = Counts {
            records: 5,
            row_records: 3,
            heartbeats: 1,
            rejects: 1,
            rows: 3,
            processed: 1,
            late: 1,
            duplicates: 1,
        };
        let summary = Summary::of(&truth(), counts, &mut EventsHash::default()).unwrap();
        let line = summary.to_json_line();
        let start = "{\"seed\":7,\"records\":5,\"rows\":3,\"heartbeats\":1,\"rejects\":1,\"processed\":1,\"late\":1,\
                     \"duplicates\":1,\"planted\":{";
        assert!(line.starts_with(start), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        for name in ["planted", "found", "missed", "false", "unseen", "masked"] {
            assert!(value[name].is_object(), "{name}");
        }
        assert_eq!(value["events"], 0);
        assert_eq!(value["events_sha256"].as_str().unwrap().len(), 64);
        assert!(summary.to_text().contains("records 5 = 3 of rows + 1 heartbeats + 1 rejects"));
    }

    #[test]
    fn sums_that_do_not_close_are_no_summary() {
        let counts = Counts { records: 1, ..Counts::default() };
        assert_eq!(
            Summary::of(&truth(), counts, &mut EventsHash::default()).unwrap_err().code(),
            Code::Internal
        );
    }
}
