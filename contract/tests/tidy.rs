//! What the repository promises about itself, read from its files.
//!
//! `docs/ARCHITECTURE.md` names these tests beside the lines that they hold. Limits ratchet: an old
//! offender is listed with its number, which may only fall. A new one is mended, not listed.

#[path = "tidy/workspace.rs"]
mod workspace;

use std::collections::BTreeMap;

use workspace::{Workspace, dependencies};

const LINES_MAX: usize = 500;

/// Files above [`LINES_MAX`], with their lines when the limit was set.
const LONG: &[(&str, usize)] = &[];

/// Imports against the order of `engine/src/lib.rs`: importing file, imported module, why it stands.
const BACKWARDS: &[(&str, &str, &str)] = &[
    ("sql/options.rs", "connect", "`OptionDoc`: options are checked where their places are still known"),
    ("watermark/side.rs", "sink", "`OutRecord`: a side stream's record is an output's record"),
];

/// `.unwrap()`, `.expect("…")` and `panic!` on the way of data, by file, with their number.
const PANICS: &[(&str, usize)] = &[("engine/src/sql/plan/session.rs", 1)];

/// Which members of the workspace each member may depend on (design: layout).
const ARROWS: &[(&str, &[&str])] = &[
    ("deps", &[]),
    ("contract", &[]),
    ("segments", &["contract"]),
    ("vision/render", &[]),
    ("vision", &["contract", "render"]),
    ("edge", &["contract", "segments", "vision"]),
    ("engine", &["contract", "deps"]),
    ("connectors", &["contract", "deps", "engine", "segments"]),
    ("sim", &["contract", "deps"]),
    ("server", &["connectors", "contract", "deps", "engine", "render", "segments", "sim", "vision"]),
    ("benches", &["connectors", "contract", "deps", "engine", "sim"]),
];

/// What a member's tests may use beside that: member, other, why.
const TEST_ARROWS: &[(&str, &str, &str)] = &[
    ("engine", "sim", "the oracle runs the rule pack over a simulated day"),
    ("edge", "render", "the agent's cameras see drawn frames"),
];

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn shown(found: Vec<(&str, usize, &str)>) -> Vec<String> {
    found.into_iter().map(|(path, number, line)| format!("{path}:{number}: {line}")).collect()
}

#[test]
fn files_stay_short() {
    let mut found = Vec::new();
    for source in &Workspace::load().sources {
        let limit = LONG.iter().find(|(path, _)| *path == source.path).map_or(LINES_MAX, |(_, lines)| *lines);
        let lines = source.text.lines().count();
        if lines > limit {
            found.push(format!("{} has {lines} lines, at most {limit}: split it by meaning", source.path));
        }
    }
    none(found);
}

#[test]
fn every_file_says_what_it_is() {
    let bare = |text: &str| !text.starts_with("//!") || text.lines().next().is_none_or(|l| l.len() < 8);
    let found = Workspace::load()
        .sources
        .iter()
        .filter(|s| bare(&s.text))
        .map(|s| format!("{} has no `//!` header", s.path))
        .collect();
    none(found);
}

/// The names that follow `crate::` in a line.
fn imported(line: &str) -> Vec<&str> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$'))
        .flat_map(|(at, word)| {
            let rest = &line[at + word.len()..];
            let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or(list));
            let several = rest.starts_with('{');
            let first = |part: &str| {
                part.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::len)
            };
            if several {
                names.split(',').map(|p| (p.trim(), first(p))).collect::<Vec<_>>()
            } else {
                vec![(rest, first(rest))]
            }
        })
        .filter_map(|(part, length)| part.get(..length?))
        .collect()
}

#[test]
fn stages_import_only_what_stands_above_them() {
    let workspace = Workspace::load();
    let order: Vec<String> = workspace
        .read("engine/src/lib.rs")
        .lines()
        .filter_map(|l| Some(l.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect();
    assert!(
        order.first().is_some_and(|m| m == "base") && order.last().is_some_and(|m| m == "run"),
        "{order:?}"
    );
    let rank = |module: &str| order.iter().position(|m| m == module);
    let mut found = Vec::new();
    for source in workspace.sources.iter().filter(|s| s.member() == "engine" && s.ships()) {
        let inner = source.path.trim_start_matches("engine/src/");
        let module = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{module} is not declared in engine/src/lib.rs"));
        for (number, line) in source.code() {
            for name in imported(line).into_iter().filter(|name| rank(name).is_some_and(|r| r > own)) {
                if !BACKWARDS.iter().any(|(file, to, _)| *file == inner && *to == name) {
                    found.push(format!(
                        "{}:{number} imports {name}, which stands below {module}",
                        source.path
                    ));
                }
            }
        }
    }
    none(found);
    assert_eq!(imported("use crate::{base::X, sink};"), ["base", "sink"]);
    assert_eq!(imported("let x = crate::state::load(crate::base::X);"), ["state", "base"]);
    assert_eq!(imported("use weir_crate::x; $crate::y"), Vec::<&str>::new());
}

#[test]
fn crates_depend_in_one_direction() {
    let mut found = Vec::new();
    for (member, manifest) in Workspace::load().manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member) else {
            found.push(format!("{member}: say in ARROWS what it may depend on"));
            continue;
        };
        let shipped = manifest.split("[dev-dependencies]").next().unwrap_or(&manifest);
        for dependency in dependencies(&manifest) {
            let Some(other) = dependency.strip_prefix("weir-") else { continue };
            let tests = !dependencies(shipped).contains(&dependency)
                && TEST_ARROWS.iter().any(|(from, to, _)| (*from, *to) == (member.as_str(), other));
            if !allowed.contains(&other) && !tests {
                found.push(format!("{member}/Cargo.toml depends on weir-{other}"));
            }
        }
    }
    none(found);
    assert_eq!(dependencies("[dependencies]\na = 1\n[lints]\nb = 1\n[dev-dependencies]\nc = 2"), ["a", "c"]);
}

/// `weir-deps` only makes the features of dependencies equal for all members; nothing is imported from it.
#[test]
fn contract_segments_and_sim_know_no_datafusion() {
    let workspace = Workspace::load();
    let mut found = Vec::new();
    for (member, manifest) in workspace.manifests() {
        let names = dependencies(&manifest);
        if ["contract", "segments", "sim", "edge", "vision", "vision/render"].contains(&member.as_str()) {
            let heavy = |n: &&String| ["datafusion", "arrow", "parquet"].iter().any(|h| n.starts_with(h));
            found.extend(names.iter().filter(heavy).map(|n| format!("{member}/Cargo.toml depends on {n}")));
        }
        if ["contract", "segments", "edge", "vision", "vision/render"].contains(&member.as_str())
            && names.iter().any(|n| n == "weir-deps")
        {
            found.push(format!("{member}/Cargo.toml depends on weir-deps, which reaches datafusion"));
        }
    }
    let light =
        |s: &workspace::Source| ["contract", "segments", "sim", "edge", "vision"].contains(&s.member());
    found.extend(shown(workspace.places(|s| light(s) && s.ships(), &["datafusion::", "weir_deps"])));
    none(found);
}

/// A Raspberry Pi builds the agent in minutes, and it goes on while the engine is down.
#[test]
fn edge_never_reaches_datafusion() {
    let lock = Workspace::load().read("Cargo.lock");
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let line = |start: &str| package.lines().find_map(|l| l.strip_prefix(start));
        let name = line("name = \"").and_then(|n| n.strip_suffix('"')).unwrap_or_default();
        let listed = package.lines().filter_map(|l| l.strip_prefix(" \"")?.strip_suffix("\","));
        needs.entry(name).or_default().extend(listed.filter_map(|l| l.split(' ').next()));
    }
    let mut reached = vec!["weir-edge"];
    let mut at = 0;
    while let Some(name) = reached.get(at).copied() {
        at += 1;
        for next in needs.get(name).into_iter().flatten() {
            if !reached.contains(next) {
                reached.push(next);
            }
        }
    }
    assert!(reached.contains(&"weir-segments") && reached.contains(&"serde_json"), "{reached:?}");
    let heavy = |n: &&&str| ["datafusion", "arrow", "parquet", "weir-deps"].iter().any(|h| n.starts_with(h));
    none(reached.iter().filter(heavy).map(|n| format!("weir-edge reaches {n}")).collect());
}

#[test]
fn no_clock_outside_one_file() {
    let clocks =
        ["SystemTime::now", "Instant::now", "Utc::now", "Local::now", "OffsetDateTime::now", "elapsed()"];
    let workspace = Workspace::load();
    none(shown(
        workspace
            .places(|s| s.path != "contract/src/clock.rs" && s.path != "contract/tests/tidy.rs", &clocks),
    ));
    let silenced = |s: &workspace::Source| s.ships() && s.path != "contract/src/clock.rs";
    none(shown(
        workspace
            .places(silenced, &["allow(clippy::disallowed_methods", "expect(clippy::disallowed_methods"]),
    ));
}

#[test]
fn every_queue_has_a_bound() {
    let words = [
        "unbounded_channel(",
        "unbounded(",
        "unbounded::<",
        "mpsc::channel()",
        "mpsc::channel::<",
        "flume::",
    ];
    none(shown(Workspace::load().places(|s| s.ships(), &words)));
}

#[test]
fn nothing_is_left_for_later_in_code() {
    none(shown(
        Workspace::load().places(|s| s.path != "contract/tests/tidy.rs", &["todo!(", "unimplemented!("]),
    ));
}

#[test]
fn data_never_panics() {
    let words = [".unwrap()", ".expect(\"", "panic!(", "unreachable!("];
    let mut counts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let workspace = Workspace::load();
    // Test support panics where a connector breaks a promise; the server's rim may end the process.
    let on_the_way = |s: &workspace::Source| {
        s.ships() && s.path != "connectors/src/compliance.rs" && s.member() != "sim" && s.member() != "server"
    };
    for (path, number, line) in workspace.places(on_the_way, &words) {
        counts.entry(path).or_default().push(format!("{path}:{number}: {line}"));
    }
    let above = |path: &str, n: usize| PANICS.iter().find(|(p, _)| *p == path).map_or(0, |(_, max)| *max) < n;
    none(
        counts.into_iter().filter(|(path, places)| above(path, places.len())).flat_map(|(_, p)| p).collect(),
    );
}

#[test]
fn nothing_is_forked_and_arrow_is_there_once() {
    let workspace = Workspace::load();
    let lock = workspace.read("Cargo.lock");
    none(lock.lines().filter(|l| l.contains("\"git+")).map(str::to_owned).collect());
    let mut manifests = workspace.manifests();
    manifests.push((".".into(), workspace.read("Cargo.toml")));
    for (member, text) in &manifests {
        for word in ["[patch", "[replace", "git ="] {
            assert!(!text.lines().any(|l| l.contains(word)), "{member}/Cargo.toml has {word}");
        }
    }
    for name in ["arrow", "arrow-array", "datafusion", "parquet", "sqlparser", "object_store"] {
        let versions = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(versions, 1, "{name} is in Cargo.lock {versions} times");
    }
    let direct = ["arrow", "parquet", "sqlparser"];
    for (member, text) in &manifests {
        let wrong: Vec<String> =
            dependencies(text).into_iter().filter(|d| direct.contains(&d.as_str())).collect();
        assert!(wrong.is_empty(), "{member}: {wrong:?} come through datafusion's re-exports");
    }
}

/// Kafka coordinates; weir's own processes never talk to each other.
#[test]
fn the_engine_opens_no_socket() {
    let workspace = Workspace::load();
    let members = ["contract", "engine", "segments", "sim"];
    let words =
        ["std::net", "tokio::net", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener"];
    none(shown(workspace.places(|s| members.contains(&s.member()) && s.ships(), &words)));
    let lock = workspace.read("Cargo.lock");
    for name in ["raft", "openraft", "foca", "memberlist", "chitchat", "tonic"] {
        assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name} is in Cargo.lock");
    }
}

#[test]
fn no_state_is_global() {
    let words = ["static mut ", "thread_local!", "lazy_static!", "LazyLock<", "once_cell"];
    let workspace = Workspace::load();
    let mut found = shown(workspace.places(|s| s.ships(), &words));
    let changing = ["Mutex<", "RwLock<", "Atomic", "DashMap<", "RefCell<"];
    let statics = workspace.places(|s| s.ships(), &["static "]);
    let global = |line: &str| line.trim_start_matches("pub ").starts_with("static ");
    found.extend(shown(
        statics.into_iter().filter(|(_, _, l)| global(l) && changing.iter().any(|c| l.contains(c))).collect(),
    ));
    none(found);
}

/// Clients of HTTP, each with the setting that its addresses come from.
const CLIENTS: &[(&str, &str)] = &[
    ("edge/src/web.rs", "`edge.toml`: publish.url, camera.url"),
    ("edge/src/capture/network.rs", "`edge.toml`: camera.url"),
    ("edge/src/publish/frames/depot.rs", "`edge.toml`: frame_store.to"),
    ("edge/src/publish/http.rs", "`edge.toml`: publish.url"),
];

#[test]
fn no_address_is_built_in() {
    let workspace = Workspace::load();
    none(shown(workspace.places(|s| s.ships(), &["\"http://", "\"https://"])));
    let listed = |s: &workspace::Source| CLIENTS.iter().any(|(path, _)| *path == s.path);
    let clients = ["reqwest", "ureq::", "hyper::"];
    none(shown(workspace.places(|s| s.ships() && !listed(s), &clients)));
}

/// The engine and its connectors know no rule of the pack by name, and the pack is SQL only.
#[test]
fn rules_are_sql_only() {
    let workspace = Workspace::load();
    let (mut open, mut rules, mut other) = (vec![workspace.root.join("rules")], Vec::new(), Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|e| e == "sql") {
                let text = std::fs::read_to_string(&entry).unwrap();
                rules.extend(
                    text.lines().filter_map(|l| Some(l.strip_prefix("CREATE RULE ")?.trim().to_owned())),
                );
            } else if entry.file_name().is_none_or(|n| n != ".sqlfluff" && n != "README.md") {
                other.push(entry.display().to_string());
            }
        }
    }
    none(other);
    assert!(rules.len() >= 7, "{rules:?}");
    let words: Vec<String> = rules.iter().map(|r| format!("\"{r}\"")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    none(shown(workspace.places(|s| ["engine", "connectors"].contains(&s.member()) && s.ships(), &words)));
}

#[test]
fn each_line_of_what_is_absent_names_its_test() {
    let workspace = Workspace::load();
    let page = workspace.read("docs/ARCHITECTURE.md");
    let (_, absent) = page.split_once("\n## Absent on purpose\n").expect("the list of what is absent");
    let absent = absent.split("\n## ").next().unwrap_or_default();
    let lines: Vec<&str> = absent.lines().filter(|l| l.starts_with("* ")).collect();
    assert!(lines.len() >= 8, "{} lines", lines.len());
    for line in lines {
        let (_, named) = line.rsplit_once("Held by ").unwrap_or_else(|| panic!("no test: {line}"));
        let words: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        let (file, tests) = words.split_first().unwrap_or_else(|| panic!("no test: {line}"));
        let text = workspace.read(file);
        assert!(!tests.is_empty(), "no test: {line}");
        for test in tests {
            assert!(text.contains(&format!("fn {test}(")), "{file} has no test {test}: {line}");
        }
    }
}

/// Paths that the documents name are there.
#[test]
fn documents_name_what_exists() {
    let workspace = Workspace::load();
    let mut found = Vec::new();
    for page in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/SQL.md",
        "docs/RULES.md",
        "docs/OPERATIONS.md",
        "docs/VISION.md",
        "docs/EDGE.md",
    ] {
        for target in workspace
            .read(page)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next().map(str::to_owned))
        {
            let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
            let file = target.split('#').next().unwrap_or_default();
            let local = !target.contains("://") && !file.is_empty();
            if local && !workspace.root.join(folder).join(file).exists() {
                found.push(format!("{page} links to {target}, which is not there"));
            }
        }
    }
    none(found);
}

#[test]
fn results_with_a_model_are_of_the_model_that_ships() {
    let workspace = Workspace::load();
    let metrics: serde_json::Value =
        serde_json::from_str(&workspace.read("vision/model/metrics.json")).expect("JSON");
    let shipped = metrics["sha256"].as_str().expect("the model's sha256");
    for name in ["vision", "pictures"] {
        let result = workspace.read(&format!("benches/results/{name}.txt"));
        let measured: Vec<&str> =
            result.split_whitespace().filter_map(|word| word.strip_prefix("sha256=")).collect();
        let same = |sha256: &&str| sha256.len() >= 16 && shipped.starts_with(*sha256);
        assert!(
            !measured.is_empty() && measured.iter().all(same),
            "benches/results/{name}.txt was measured with {measured:?}, vision/model/metrics.json says {shipped}: \
             make bench-{name}"
        );
    }
}

/// Codes of some cells: sure and right, sure and wrong.
fn readings(cells: &str) -> (u32, u32) {
    let of = |word: &str| word.parse::<u32>().unwrap_or(0);
    let wrong = cells.split_whitespace().filter_map(|word| word.strip_prefix('!'));
    (cells.split_whitespace().map(of).sum(), wrong.map(of).sum())
}

#[test]
fn the_barcodes_of_the_page_are_those_of_the_result() {
    let workspace = Workspace::load();
    let (result, page) = (workspace.read("benches/results/barcodes.txt"), workspace.read("docs/VISION.md"));
    let mut measured: BTreeMap<(&str, usize), Vec<(u32, u32)>> = BTreeMap::new();
    for line in result.lines() {
        let mut columns = line.split('|');
        let head: Vec<&str> = columns.next().unwrap_or_default().split_whitespace().collect();
        if let [symbology, _pixels] = head[..] {
            columns.enumerate().for_each(|(blur, cells)| {
                measured.entry((symbology, blur)).or_default().push(readings(cells));
            });
        }
    }
    let all = ["ean13", "upca", "code128", "qr"].into_iter().flat_map(|s| (0..4).map(move |blur| (s, blur)));
    let wanted: Vec<_> = all.map(|key| measured.remove(&key).unwrap_or_default()).collect();
    let table = page.split("| pixels a module |").nth(1).expect("the table").split("\n\n").next();
    let rows = table.expect("rows").lines().skip(2).map(|line| line.trim_matches('|').split('|').skip(2));
    let told: Vec<Vec<(u32, u32)>> = rows.map(|cells| cells.map(readings).collect()).collect();
    assert_eq!(told, wanted, "docs/VISION.md, then benches/results/barcodes.txt");
    let (right, wrong) = wanted.iter().flatten().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
    let words = format!("{right} were sure and right, {wrong} (");
    assert!(right > 0 && page.contains(&words), "docs/VISION.md does not say `{words}`");
}
