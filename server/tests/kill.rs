//! Exactly once against a real Kafka: a run is killed twenty times with SIGKILL, goes on each time, and
//! in the end its topics hold what a replay of the same logs says: nothing lost, nothing doubled.
//!
//! Starts a broker of its own (scripts/kafka.sh), since the simulator's topics have fixed names. The
//! seed of the kill times is printed; `WEIR_SEED` sets it.

#[allow(dead_code, reason = "shared with the tests of faults")]
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::broker::Broker;

const KILLS: u64 = 20;
const TOPICS: [&str; 3] = ["validation", "devices", "buffers"];

struct Setup {
    env: String,
    log: String,
    dir: tempfile::TempDir,
}

impl Setup {
    fn weir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).env("WEIR_ENV", &self.env).env_remove("WEIR_LOG").stdin(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn output(&self, args: &[&str]) -> String {
        let done = self.weir(args).output().unwrap();
        assert!(done.status.success(), "weir {args:?}\n{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn start(&self) -> Child {
        let (data, reference, rules) = (self.path("data"), self.path("reference.sql"), rules());
        let mut run =
            self.weir(&["run", &rules, "--data", &data, "--log", &self.log, "--reference", &reference]);
        run.args(["--checkpoint-every", "0.2", "--batch-rows", "100"]);
        run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Number of the newest manifest, 0 where there is none.
    fn checkpoints(&self) -> u64 {
        let folder = self.dir.path().join("data/checkpoints/rules");
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let number =
            |e: std::fs::DirEntry| e.file_name().to_str()?.strip_suffix(".manifest.json")?.parse().ok();
        names.filter_map(number).max().unwrap_or(0)
    }

    /// All events that a reader of committed records sees, sorted.
    fn events(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for topic in TOPICS {
            let text = self.output(&["tail", &format!("{}.events.{topic}", self.env), "--log", &self.log]);
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort();
        lines
    }
}

fn rules() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").display().to_string()
}

#[test]
fn twenty_kills_lose_and_double_nothing() {
    let broker = Broker::start();
    let seed: u64 =
        std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(u64::from(std::process::id()));
    println!("seed {seed}");
    let setup = Setup {
        env: format!("kill{seed}"),
        log: format!("kafka://{}?append_time=producer", broker.at),
        dir: tempfile::tempdir().unwrap(),
    };
    let reference = setup.path("reference.sql");
    setup.output(&[
        "sim",
        "--seed",
        "9",
        "--minutes",
        "40",
        "--out",
        &setup.log,
        "--reference-out",
        &reference,
    ]);
    let mut chance = seed;
    for _ in 0..KILLS {
        let mut child = setup.start();
        // SplitMix64 (S. Vigna): from before the first record to some checkpoints later.
        chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
        // Kills that all fell into the start would prove nothing: most wait for a new checkpoint.
        let before = setup.checkpoints();
        for _ in 0..if drawn.is_multiple_of(5) { 20 } else { 400 } {
            if setup.checkpoints() > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(drawn % 500));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let made = setup.checkpoints();
    println!("checkpoints made under kills: {made}");
    assert!(made >= KILLS / 2, "only {made} checkpoints: the kills fell into the starts");
    let out = setup.path("replay.jsonl");
    setup.output(&["replay", &rules(), "--from", &setup.log, "--out", &out, "--json"]);
    let mut wanted: Vec<String> = std::fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    wanted.sort();
    assert!(wanted.len() > 50, "the day has events");

    let mut last = setup.start();
    for _ in 0..120 {
        std::thread::sleep(Duration::from_millis(500));
        if setup.events().len() >= wanted.len() {
            break;
        }
    }
    // Whatever would be said twice is said by now, or at the latest when it stops.
    std::thread::sleep(Duration::from_secs(3));
    assert!(Command::new("kill").args(["-TERM", &last.id().to_string()]).status().unwrap().success());
    assert!(last.wait().unwrap().success(), "a clean stop");
    assert_eq!(setup.events(), wanted, "seed {seed}");
}
