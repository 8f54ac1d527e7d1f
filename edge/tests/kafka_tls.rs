//! The Kafka sender through TLS, client certificates and passwords, against a broker of the test's own.
//!
//! `scripts/kafka.sh start tls` makes the certificates with openssl and installs what is missing. Each identity
//! that does not fit has to give an error that names the cause, keep every record in the spool, and go on when
//! it is mended: in the files, without a restart, where files are at fault.

#[path = "support/topic.rs"]
mod topic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use topic::Seen;
use weir_contract::{Clock, Code, Error, WallClock};
use weir_edge::publish::kafka::{KafkaSender, client};
use weir_edge::publish::{Pace, Publisher, Sender, Window};
use weir_edge::record::{Draft, TimeIn};
use weir_edge::spool::{LaneOptions, Spool};
use weir_edge::time::{AlwaysSynced, DeviceClock};
use weir_segments::RealDisk;

const PATIENCE: Duration = Duration::from_secs(90);

/// Ends with the test.
struct Broker {
    state: tempfile::TempDir,
    said: BTreeMap<String, String>,
}

fn script(state: &Path, words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let done = Command::new("bash")
        .arg(script)
        .args(words)
        .env("WEIR_KAFKA_STATE", state.join("node"))
        .output()
        .unwrap();
    assert!(done.status.success(), "kafka.sh {words:?}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

impl Broker {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let said = script(state.path(), &["start", "tls"]);
        let pair = |line: &str| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        let said = said.lines().filter_map(pair).collect();
        Self { state, said }
    }

    fn at(&self, name: &str) -> &str {
        &self.said[name]
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.at("WEIR_KAFKA_CERTS")).join(name)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        script(self.state.path(), &["stop"]);
    }
}

/// A device with its folder of certificates and its spool.
struct Device<'a> {
    broker: &'a Broker,
    folder: tempfile::TempDir,
    topic: String,
    clock: DeviceClock,
    spool: Spool,
    publisher: Option<Publisher>,
    pushed: u64,
}

impl<'a> Device<'a> {
    /// `files` are the broker's names of what lies in the device's folder: ca.pem, device.pem, device.key.
    fn new(broker: &'a Broker, name: &str, files: [&str; 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lane = LaneOptions { name: "scans".into(), bytes_max: 64 << 20, age_max_us: None };
        let spool = Spool::open(Arc::new(RealDisk), &folder.path().join("spool"), &[lane]).unwrap();
        let clock = DeviceClock::of_machine(Arc::new(WallClock), Arc::new(AlwaysSynced(true)));
        let topic = topic::make(broker.at("WEIR_KAFKA"), name);
        let device = Self { broker, folder, topic, clock, spool, publisher: None, pushed: 0 };
        device.install(files);
        device
    }

    fn install(&self, files: [&str; 3]) {
        for (to, from) in ["ca.pem", "device.pem", "device.key"].iter().zip(files) {
            std::fs::copy(self.broker.file(from), self.folder.path().join(to)).unwrap();
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts an agent's publisher over the spool as it is.
    fn start(&mut self, listener: &str, properties: &[(&str, String)]) {
        let properties: BTreeMap<String, String> =
            properties.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        let config = client(self.broker.at(listener), &properties, false).unwrap();
        let sender: Box<dyn Sender> = Box::new(KafkaSender::new(config, &self.topic).unwrap());
        let window = Window { records: 500, bytes: 1 << 20 };
        self.publisher = Some(Publisher::new(b"W1", vec![(sender, window)], Pace::default()));
    }

    /// With the certificate in its folder.
    fn start_tls(&mut self) {
        let certificate = [
            ("ssl.certificate.location", self.path("device.pem")),
            ("ssl.key.location", self.path("device.key")),
        ];
        self.start("WEIR_KAFKA_TLS", &[&self.authority()[..], &certificate].concat());
    }

    fn authority(&self) -> [(&'static str, String); 2] {
        [("security.protocol", "ssl".into()), ("ssl.ca.location", self.path("ca.pem"))]
    }

    fn password(&self, password: String) -> Vec<(&'static str, String)> {
        let [_, authority] = self.authority();
        vec![
            ("security.protocol", "sasl_ssl".into()),
            authority,
            ("sasl.mechanism", "SCRAM-SHA-512".into()),
            ("sasl.username", "device".into()),
            ("sasl.password", password),
        ]
    }

    fn push(&mut self, count: u64) {
        for _ in 0..count {
            let value = self.pushed.to_le_bytes().to_vec();
            let (time, headers) = (self.clock.now(), Vec::new());
            let draft = Draft { time, time_name: "t", time_in: TimeIn::Header, value, headers };
            self.spool.push(0, b"W1", draft);
            self.pushed += 1;
        }
        self.spool.sync().unwrap();
    }

    fn pump_until(&mut self, what: &str, done: impl Fn(&Spool, &Publisher) -> bool) {
        let publisher = self.publisher.as_mut().unwrap();
        let until = WallClock.monotonic() + PATIENCE;
        while !done(&self.spool, publisher) {
            assert!(WallClock.monotonic() < until, "{what}: {:?}", publisher.trouble());
            if !publisher.pump(&mut self.spool, &self.clock.now()).unwrap() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Gives the error that the device shows; everything is still in the spool and nothing in the topic.
    fn refused(&mut self, what: &str) -> Error {
        let shown = |p: &Publisher| p.trouble().filter(|why| why.code() == Code::Refused);
        self.pump_until(what, |_, p| shown(p).is_some());
        let why = self.publisher.as_ref().and_then(shown).unwrap();
        println!("{what}: {why}");
        assert_eq!((self.spool.records(0), self.spool.gone()), (self.pushed, 0), "{what}");
        assert_eq!(topic::read(self.broker.at("WEIR_KAFKA"), &self.topic), [], "{what}");
        why
    }

    /// Everything arrives, in order, once.
    fn arrives(&mut self, what: &str) {
        self.pump_until(what, |s, _| s.records(0) == 0);
        assert_eq!(self.spool.gone(), 0, "{what}");
        let seen = topic::read(self.broker.at("WEIR_KAFKA"), &self.topic);
        let number = |s: &Seen| if let Seen::Record(n, _) = s { Some(*n) } else { None };
        let numbers: Vec<u64> = seen.iter().filter_map(number).collect();
        assert_eq!(numbers, (0..self.pushed).collect::<Vec<_>>(), "{what}");
        self.pump_until(what, |_, p| p.trouble().is_none());
    }
}

#[test]
fn who_the_broker_and_the_device_do_not_know_is_told_why_and_nothing_is_lost() {
    let broker = Broker::start();
    let right = ["ca.pem", "device.pem", "device.key"];

    let mut device = Device::new(&broker, "right", right);
    device.start_tls();
    device.push(3_000);
    device.arrives("the right certificate");

    // A restart with settings that name the certificate mends it.
    let mut device = Device::new(&broker, "none", right);
    device.start("WEIR_KAFKA_TLS", &device.authority());
    device.push(100);
    let why = device.refused("no certificate");
    assert!(why.what().contains("certificate"), "{why}");
    device.start_tls();
    device.push(100);
    device.arrives("no certificate, then one");

    // The files are replaced beside the running agent.
    let mut device = Device::new(&broker, "stranger", ["ca.pem", "stranger.pem", "stranger.key"]);
    device.start_tls();
    device.push(100);
    let why = device.refused("a certificate of another authority");
    assert!(why.what().contains("certificate"), "{why}");
    device.install(right);
    device.push(100);
    device.arrives("a certificate of another authority, then the right one");

    let mut device = Device::new(&broker, "wrong-ca", ["other-ca.pem", "device.pem", "device.key"]);
    device.start_tls();
    device.push(100);
    let why = device.refused("the device trusts another authority");
    assert!(why.what().contains("verif"), "{why}");
    device.install(right);
    device.push(100);
    device.arrives("the device trusts another authority, then the right one");

    let mut device = Device::new(&broker, "password", right);
    device.start("WEIR_KAFKA_SASL", &device.password("hush-not-this".into()));
    device.push(100);
    let why = device.refused("a wrong password");
    assert!(
        why.what().to_lowercase().contains("authentication") && !why.to_string().contains("hush"),
        "{why}"
    );
    let file = format!("file:{}", broker.file("password").display());
    device.start("WEIR_KAFKA_SASL", &device.password(file));
    device.push(100);
    device.arrives("a wrong password, then the right one");
}
