//! The line, the ids and the hash of events, against their contract.

use super::*;
use serde_json::json;

fn event(key: Value, seq: u64) -> Event {
    let episode_id = Id::of(&json!(["overflow", "MAD1", key, 1_767_225_600_000_000_i64]));
    let mut extra = Map::new();
    extra.insert("zebra".into(), number(0.1));
    extra.insert("ant".into(), json!({"b": 1, "a": [{"d": 1, "c": 2}]}));
    Event {
        event_id: Id::of(&json!([episode_id.to_string(), seq])),
        episode_id,
        seq,
        rule: "overflow".into(),
        rule_version: "0011223344556677".into(),
        warehouse: "MAD1".into(),
        unit_id: Some("MAD1_PICK_TOTAL".into()),
        key,
        label: Label::New,
        severity: Some("high".into()),
        event_time: EventTime(1_767_225_600_500_000),
        decided_at: EventTime(1_767_225_601_000_000),
        recommendation: None,
        quantity: number(f64::NAN),
        quantity_unit: None,
        reason: Some("quote \" and \u{7}".into()),
        explain: None,
        decision: Value::Null,
        conflict: Value::Null,
        suppression: Value::Null,
        suppressed_by: None,
        evidence: Value::Null,
        inputs: Value::Null,
        late_by: None,
        extra,
    }
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_line_has_the_columns_in_order_and_nested_keys_sorted() {
    let line = event(json!(["T,\"}"]), 0).to_json_line();
    let mut at = 0;
    for column in COLUMNS {
        let next = line[at..].find(&format!("\"{column}\":")).expect(column);
        at += next + 1;
    }
    assert!(line.ends_with(
        r#","evidence":null,"inputs":null,"late_by":null,"extra":{"ant":{"a":[{"c":2,"d":1}],"b":1},"zebra":0.1}}"#
    ));
    assert!(line.contains(r#""event_time":"2026-01-01T00:00:00.500Z","decided_at":"2026-01-01T00:00:01Z""#));
    assert!(line.contains(r#""quantity":"NaN""#));
    assert!(line.contains(r#""reason":"quote \" and \u0007""#));
    let back: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(back.as_object().map(Map::len), Some(COLUMNS.len()));
}

#[test]
fn floats_are_shortest_and_never_lost() {
    for (value, shown) in [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1.0 / 3.0, "0.3333333333333333"),
        (5e-324, "5e-324"),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
        (-f64::NAN, "\"NaN\""),
    ] {
        assert_eq!(canonical(&number(value)), shown);
    }
    for bits in (0..2_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            let text = canonical(&number(value));
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits), "{text}");
        }
    }
}

#[test]
fn canonical_json_does_not_depend_on_the_order_of_keys() {
    for text in ["{}", "[]", "null", "[{},[]]"] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(canonical(&value), text);
    }
    let a: Value = serde_json::from_str(r#"{"b":{"y":1,"x":2},"a":"\u00e9\n"}"#).expect("JSON");
    let b: Value = serde_json::from_str(r#"{"a":"é\n","b":{"x":2,"y":1}}"#).expect("JSON");
    assert_eq!(canonical(&a), r#"{"a":"é\n","b":{"x":2,"y":1}}"#);
    assert_eq!(canonical(&a), canonical(&b));
}

#[test]
fn ids_read_back_and_are_those_of_the_contract() {
    let id = Id::of(&json!(["r", 1]));
    assert_eq!(Id::parse(&id.to_string()), Some(id));
    assert_eq!(id.to_string(), hex(Sha256::digest(br#"["r",1]"#))[..32]);
    assert_eq!(Id::parse(&id.to_string().to_uppercase()), None);
    assert_eq!(Id::parse("00"), None);
}

#[test]
fn the_hash_is_that_of_the_sorted_lines_however_they_come() {
    let keys = [json!(["b", 0.1]), json!(["a{", 1e300]), json!(["a\"", 0.300_000_000_000_000_04])];
    let events: Vec<Event> = keys.iter().flat_map(|k| (0..12).map(|seq| event(k.clone(), seq))).collect();
    let (mut live, mut read, mut plain) = (EventsHash::default(), EventsHash::default(), Sha256::new());
    for e in &events {
        live.add(e);
    }
    for e in events.iter().rev() {
        assert_eq!(read.add_line(&e.to_json_line()), Some(()));
    }
    let sorted: Vec<String> = live.sorted_lines().map(str::to_owned).collect();
    assert!(sorted.iter().map(|l| raw_column(l, "key")).is_sorted(), "keys sort by their text");
    for line in &sorted {
        plain.update(format!("{line}\n"));
    }
    let plain = hex(plain.finalize());
    assert_eq!((live.sha256(), live.len()), (plain.clone(), 36));
    assert_eq!(read.sha256(), plain);
    assert_eq!(read.add_line("{}"), None);
    assert_eq!(read.add_line("not JSON"), None);
    assert_eq!(raw_column(r#"{ "a" : [1, {"key":2}] , "key" : "x,}" }"#, "key"), Some("\"x,}\""));
    assert_eq!(raw_column(r#"{"a":1}"#, "key"), None);
}
