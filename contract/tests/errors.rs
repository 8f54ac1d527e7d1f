//! `docs/ERRORS.md` says what the codes say. `WEIR_BLESS=1` writes it anew.

use std::path::Path;

use weir_contract::Code;
use weir_contract::code::Fault;

const GROUPS: [(u16, &str); 8] = [
    (1, "Records and rows"),
    (2, "SQL and checks"),
    (3, "Engine"),
    (4, "Connectors"),
    (5, "Storage and checkpoints"),
    (6, "Tests of rules"),
    (7, "Command line"),
    (8, "Images and models"),
];

const HEAD: &str = "\
# Errors

Made from `contract/src/code.rs`; do not edit (`WEIR_BLESS=1 cargo test -p weir-contract --test errors` writes it).

An error names its code, its place, what is wrong, what was expected, and who acts:

```text
W0207  rules/dock.sql:9:13
  cannot order OVER by `x`: it is not an ascending event-time column here
  expected  ts (event time)
  act       rule author. Not retried.
```

Codes are stable: a number never gets another meaning. \"Again\" says whether weir tries again by itself. In `act`,
\"rule author\" is whoever wrote the rule, view or table.
";

fn whose(fault: Fault) -> &'static str {
    match fault {
        Fault::Data => "data",
        Fault::Author => "author",
        Fault::Operator => "operator",
        Fault::Peer => "peer",
        Fault::Weir => "weir",
    }
}

fn page() -> String {
    let mut page = String::from(HEAD);
    for (group, title) in GROUPS {
        page.push_str(&format!(
            "\n## {title}\n\n| code | means | fault | again | act |\n|---|---|---|---|---|\n"
        ));
        for code in Code::ALL.iter().filter(|c| **c as u16 / 100 == group) {
            let again = if code.retry() { "yes" } else { "no" };
            let (text, act) = (code.text(), code.act());
            page.push_str(&format!("| {code} | {text} | {} | {again} | {act} |\n", whose(code.fault())));
        }
    }
    page
}

#[test]
fn the_page_is_what_the_codes_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ERRORS.md");
    let page = page();
    for code in Code::ALL {
        assert!(page.contains(&format!("| {code} |")), "{code} belongs to no group");
    }
    if std::env::var("WEIR_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&file, &page).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == page,
        "docs/ERRORS.md is not what contract/src/code.rs says: run this test with WEIR_BLESS=1"
    );
}
