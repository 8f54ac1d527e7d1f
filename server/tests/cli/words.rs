//! `check` and `explain` over the rule pack.

use crate::rig::Rig;

fn pack() -> String {
    format!("{}/../rules", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_pack_is_sound() {
    let said = Rig::new().ok(&["check", &pack(), "--json"]);
    let value = said.json();
    assert_eq!(value["ok"], true, "{value}");
    assert_eq!(value["errors"].as_array().unwrap().len(), 0);
    let later = value["not_active_yet"].to_string();
    assert!(later.contains("suppress = '20 min' is not active yet"), "{later}");
    let kafka = Rig::new().ok(&["check", &pack(), "--log", "kafka://h:1"]).out;
    assert!(kafka.contains("message.timestamp.type=LogAppendTime"), "{kafka}");
}

#[test]
fn plans_are_told_in_words() {
    let rig = Rig::new();
    let all = rig.ok(&["explain", &pack()]).out;
    for words in ["sources", "scans: rows up to 1 s out of order", "rule barcode", "rule buffer_jam"] {
        assert!(all.contains(words), "{words}\n{all}");
    }
    let one = rig.ok(&["explain", &pack(), "camera_silent"]).out;
    assert!(one.starts_with("rule camera_silent") && one.contains("holds left rows of the last"), "{one}");
    let none = rig.run(&["explain", &pack(), "camera_silnt"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("camera_silent (did you mean that?)"), "{}", none.err);
}
