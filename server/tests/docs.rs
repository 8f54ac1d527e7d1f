//! The SQL of the documents is planned by the binary, so that the pages cannot rot; so are its options.
//!
//! All plain ```sql blocks of a page are one program. A block ```sql refused W0208 is checked together
//! with it, and must give exactly that code. Pages about rules stand on the tables and views of the pack.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use weir_contract::{Clock, WallClock};
use weir_segments::Reader;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Blocks of a page: what stands behind ```sql, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
        .into_iter()
        .filter_map(|(info, text)| Some((info.strip_prefix("sql")?.trim().to_owned(), text)))
        .collect()
}

fn weir(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    ["WEIR_LOG", "WEIR_ENV", "WEIR_REFERENCE", "WEIR_PATHS"].iter().for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments).output().unwrap()
}

/// What `weir check` says about a program.
fn check(name: &str, scripts: &[String]) -> (bool, String) {
    let files: Vec<(String, String)> =
        scripts.iter().enumerate().map(|(n, s)| (format!("{n:02}.sql"), s.clone())).collect();
    over(name, "check", &files)
}

/// What a command says about a folder of files.
fn over(name: &str, command: &str, files: &[(String, String)]) -> (bool, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("docs-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let output = weir(&[command, folder.to_str().unwrap()]);
    std::fs::remove_dir_all(&folder).unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn pack(files: &[&str]) -> Vec<String> {
    files.iter().map(|file| page(&format!("rules/{file}"))).collect()
}

const PACK: [&str; 4] = ["streams.sql", "reference.sql", "views/path_fill.sql", "views/buffer_fill.sql"];

#[test]
fn the_sql_page_is_planned() {
    let blocks = blocks(&page("docs/SQL.md"));
    let program: Vec<String> =
        blocks.iter().filter(|(info, _)| info.is_empty()).map(|(_, t)| t.clone()).collect();
    assert!(program.len() > 5, "{} blocks", program.len());
    let (well, said) = check("sql", &program);
    assert!(well, "docs/SQL.md\n{said}");
    let refused: Vec<_> = blocks.iter().filter_map(|(i, t)| Some((i.strip_prefix("refused ")?, t))).collect();
    assert!(refused.len() > 5, "{} refused blocks", refused.len());
    for (at, (code, text)) in refused.into_iter().enumerate() {
        let mut whole = program.clone();
        whole.push(text.clone());
        let (well, said) = check(&format!("refused-{at}"), &whole);
        assert!(!well, "docs/SQL.md says that this is refused:\n{text}");
        let codes: Vec<&str> =
            said.lines().filter(|l| l.starts_with("W0")).filter_map(|l| l.get(..5)).collect();
        assert_eq!(codes, [code], "{text}\n{said}");
    }
}

#[test]
fn rules_of_the_pages_are_planned_over_the_pack() {
    for name in ["docs/RULES.md", "README.md"] {
        let own: Vec<String> = blocks(&page(name)).into_iter().map(|(_, text)| text).collect();
        let rules: Vec<String> = own.into_iter().filter(|text| text.starts_with("CREATE RULE")).collect();
        assert!(!rules.is_empty(), "{name} has no rule");
        let (well, said) = check(&name.replace('/', "-"), &[pack(&PACK), rules].concat());
        assert!(well, "{name}\n{said}");
    }
}

/// The tests of the page hold for its rule, and each of them fails for another one.
#[test]
fn tests_of_the_rules_page_run() {
    let page = page("docs/RULES.md");
    let blocks = blocks(&page);
    let with = |start: &str| {
        let mut found = blocks.iter().map(|(_, text)| text).filter(|text| text.starts_with(start));
        let text = found.next().unwrap_or_else(|| panic!("docs/RULES.md has no block `{start}`"));
        assert!(found.next().is_none(), "docs/RULES.md has two blocks `{start}`");
        text.clone()
    };
    let (rule, tests) = (with("CREATE RULE overflow\n"), with("-- rule: overflow\n"));
    let run = |name: &str, rule: &str| {
        let names = PACK.iter().map(|file| file.replace('/', "-"));
        let mut files: Vec<(String, String)> = names.zip(pack(&PACK)).collect();
        files.push(("overflow.sql".into(), rule.to_owned()));
        files.push(("overflow.test.sql".into(), tests.clone()));
        over(name, "test", &files)
    };
    let (well, said) = run("tests", &rule);
    assert!(well && said.contains("2 tests: 2 passed"), "docs/RULES.md\n{said}");
    for (good, bad, passed) in [
        ("fire_after = '20 seconds'", "fire_after = '21 seconds'", 0),
        ("fire_after = '20 seconds'", "fire_after = '5 seconds'", 0),
        ("no_data = '5 minutes'", "no_data = '6 minutes'", 1),
    ] {
        let other = rule.replace(good, bad);
        assert_ne!(other, rule, "the rule of the page has no {good}");
        let (well, said) = run("tests-other", &other);
        assert!(!well && said.contains(&format!("2 tests: {passed} passed")), "{bad}\n{said}");
    }
}

/// Every `weir …` in the ```sh blocks of the pages is a command of the binary, with options that it has.
#[test]
fn commands_of_the_pages_exist() {
    let mut seen = 0;
    for name in ["README.md", "docs/OPERATIONS.md"] {
        let page = page(name);
        let shell = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        for line in shell.flat_map(str::lines).filter_map(|line| line.split("weir ").nth(1)) {
            let mut words = line.split(['|', '#']).next().unwrap_or(line).split_whitespace();
            let command = words.next().unwrap_or_default();
            let help = weir(&[command, "--help"]);
            assert!(help.status.success(), "{name}: there is no `weir {command}`");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            for option in words.filter(|w| w.starts_with("--")) {
                assert!(help.contains(&format!("{option} ")), "{name}: `weir {command}` has no {option}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} commands");
}

/// A process that never outlives its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// The recipe for devices without Kafka, command by command, in a folder that holds nothing but the pack.
#[test]
fn the_recipe_of_the_log_server_works_in_an_empty_folder() {
    let page = page("docs/OPERATIONS.md");
    let section = page.split("## Devices without Kafka").nth(1).unwrap().split("\n## ").next().unwrap();
    let shell = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands: Vec<String> = shell
        .flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("rules").canonicalize().unwrap(), folder.path().join("rules"))
        .unwrap();
    // The last is no row of its table.
    let scan = |n: u8, barcode: &str| {
        format!(
            "{{\"event_id\":\"p1-agent/b/{n}\",\"warehouse\":\"W1\",\"device\":\"s\",\"station\":\"P1\",\
             \"scan_id\":\"{n}\",{barcode}\"symbology\":\"EAN13\",\"scanned_at\":\"2026-03-01T00:00:00Z\"}}\n"
        )
    };
    let scans =
        [scan(1, "\"barcode\":\"4006381333931\","), scan(2, "\"barcode\":\"1\","), scan(3, "")].concat();
    std::fs::write(folder.path().join("scans.ndjson"), scans).unwrap();
    std::fs::write(folder.path().join("large.jpg"), b"a large frame").unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let shell = |text: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", text]).current_dir(folder.path()).env("PATH", &path).stdin(Stdio::null());
        ["WEIR_LOG", "WEIR_ENV", "WEIR_REFERENCE", "WEIR_PATHS", "WEIR_FRAMES", "RUST_LOG"].iter().for_each(
            |name| {
                command.env_remove(name);
            },
        );
        command
    };
    let patience = std::time::Duration::from_secs(120);
    let (mut server, mut run, mut address, mut asked) = (None, None, String::new(), 0);
    for command in &commands {
        if command.starts_with("weir log-server") {
            let text = format!("exec {command} --listen 127.0.0.1:0");
            let mut child = Running(shell(&text).stderr(Stdio::piped()).spawn().unwrap());
            let mut said = BufReader::new(child.0.stderr.take().unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            address = line
                .split(" at ")
                .nth(1)
                .unwrap_or_else(|| panic!("{line}"))
                .split(": ")
                .next()
                .unwrap()
                .into();
            server = Some((child, said));
        } else if command.starts_with("weir run") {
            let child = shell(&format!("exec {command}")).stderr(Stdio::piped()).spawn().unwrap();
            run = Some(Running(child));
        } else {
            let output = shell(&command.replace("127.0.0.1:8181", &address)).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            // What the page says that is answered.
            if let Some((_, answer)) = command.split_once("# ") {
                assert_eq!(said.trim(), answer.trim(), "{command}");
                asked += 1;
            }
        }
    }
    assert!(asked > 1, "nothing was posted: {commands:?}");
    let answer = std::fs::read_to_string(folder.path().join("answer")).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let frames = weir_vision::store::Store::new(folder.path().join("data/frames"));
    assert_eq!(frames.get(answer["frame_uri"].as_str().unwrap(), 99).unwrap(), b"a large frame", "{answer}");
    let (mut run, (mut server, mut told)) = (run.expect("a run"), server.expect("a server"));
    let rejected = folder.path().join("data/log/dev.scans.rejected");
    let end = WallClock.monotonic() + patience;
    let written = || {
        let partitions = (0..3).filter_map(|n| Reader::open(&rejected.join(n.to_string()), 0).ok());
        partitions
            .into_iter()
            .any(|mut reader| reader.next_batch(1, 1 << 20).unwrap().is_some_and(|b| !b.is_empty()))
    };
    while !written() && run.0.try_wait().unwrap().is_none() && WallClock.monotonic() < end {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let stop = |child: &mut Running| {
        assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
        child.0.wait().unwrap()
    };
    let ended = stop(&mut run);
    let mut said = String::new();
    run.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.success(), "{said}");
    let summaries = said.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let scans =
        summaries.map(|s| s["sources"]["scans"].clone()).find(|s| !s.is_null()).expect("the pack's summary");
    assert_eq!((&scans["rows"], &scans["rejects"]), (&2.into(), &1.into()), "{said}");
    assert!(stop(&mut server).success());
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    println!("{rest}");
}
