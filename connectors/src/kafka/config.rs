//! Options of a table or a program, as librdkafka wants them.
//!
//! In:   the `WITH` options of a table, defaults of `WEIR_LOG` already merged in.
//! Out:  client configurations for readers, askers and writers.
//! Owns: which properties weir fixes. What positions and exactly-once rest on cannot be overridden.
//!
//! C1  A secret (`sasl.password`, `ssl.key.password`, …) never stands in an error text.
//! C2  SASL without TLS needs `insecure = 'true'` spelled out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use weir_contract::time::parse_span;
use weir_contract::{Code, Error, Result};
use weir_engine::connect::OptionDoc;
use weir_engine::sql::catalog::{AppendTime, TableSpec};

use super::fault;

/// How long one question to the broker may take; a first connection is included. Eyeballed.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Bytes that librdkafka fetches ahead for one partition.
const FETCH_AHEAD_KIB: &str = "16384";
/// Bytes of one fetch answer for one partition.
const FETCH_BYTES: &str = "1048576";

/// Properties that weir sets itself, because positions or exactly-once rest on them.
const FIXED: [&str; 13] = [
    "bootstrap.servers",
    "group.id",
    "isolation.level",
    "auto.offset.reset",
    "enable.partition.eof",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "transactional.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "partitioner",
    "metadata.broker.list",
];

/// How a member of a group looks after itself. An offset that cannot be kept is given up after ten seconds:
/// librdkafka looks for a coordinator that long, and waits that long for its answer.
const MEMBER: [(&str, &str); 5] = [
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    ("max.poll.interval.ms", "60000"),
    ("coordinator.query.interval.ms", "10000"),
    ("socket.timeout.ms", "10000"),
];

pub const OPTIONS: &[OptionDoc] = &[
    OptionDoc { name: "bootstrap_servers", required: false, doc: "host:port, …; default: WEIR_LOG" },
    OptionDoc { name: "topic", required: false, doc: "name of the topic; default: the table's name" },
    OptionDoc {
        name: "until",
        required: false,
        doc: "'end': read to the end positions at the start, then stop",
    },
    OptionDoc {
        name: "partitions",
        required: false,
        doc: "partitions of a topic that weir creates; default 1",
    },
    OptionDoc {
        name: "replication",
        required: false,
        doc: "replicas of a topic that weir creates; default: the broker's",
    },
    OptionDoc { name: "create", required: false, doc: "'true' creates a missing topic of a sink" },
    OptionDoc { name: "timeout", required: false, doc: "for one question to the broker; default 10 seconds" },
    OptionDoc { name: "insecure", required: false, doc: "'true' allows SASL without TLS" },
    OptionDoc {
        name: "security.protocol",
        required: false,
        doc: "plaintext, ssl, sasl_plaintext or sasl_ssl",
    },
    OptionDoc {
        name: "sasl.*",
        required: false,
        doc: "as librdkafka names it; a value `env:NAME` or `file:PATH` is looked up",
    },
    OptionDoc {
        name: "ssl.*",
        required: false,
        doc: "as librdkafka names it; a value `env:NAME` or `file:PATH` is looked up",
    },
    OptionDoc {
        name: "kafka.*",
        required: false,
        doc: "any other property of librdkafka, without the prefix",
    },
];

/// Where a topic is and how to talk to its brokers.
#[derive(Clone)]
pub struct KafkaOptions {
    pub bootstrap: String,
    pub topic: String,
    /// Properties of librdkafka, checked against [`FIXED`].
    properties: BTreeMap<String, String>,
    pub append_time: Option<AppendTime>,
    pub until_end: bool,
    /// A sink's missing topic is created.
    pub create: bool,
    /// Only for a topic that weir creates.
    pub partitions: u32,
    /// Only for a topic that weir creates; −1 is the broker's default.
    pub replication: i32,
    pub timeout: Duration,
}

impl KafkaOptions {
    /// Plain text, everything else at its default.
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            topic: topic.into(),
            properties: BTreeMap::new(),
            append_time: None,
            until_end: false,
            create: false,
            partitions: 1,
            replication: -1,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// The same brokers and rights, another topic: the program's own topics beside a table's.
    #[must_use]
    pub fn for_topic(&self, topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..self.clone() }
    }

    /// Reads a table's options.
    ///
    /// # Errors
    /// `W0204` for a missing `bootstrap_servers`, a value that cannot be read, or a property that weir
    /// fixes itself.
    pub fn of_table(table: &TableSpec) -> Result<Self> {
        Self::of_options(&table.options, &table.name)
            .map(|options| Self { append_time: table.append_time.or(options.append_time), ..options })
            .map_err(|e| e.or_at(table.place.clone()))
    }

    /// Reads options by name; `topic` is the default of the option `topic`.
    pub fn of_options(options: &BTreeMap<String, String>, topic: &str) -> Result<Self> {
        let bootstrap =
            options.get("bootstrap_servers").filter(|b| !b.trim().is_empty()).ok_or_else(|| {
                Error::new(Code::BadOption, "a Kafka table names no brokers")
                    .expected("bootstrap_servers = 'host:port', or WEIR_LOG=kafka://host:port")
            })?;
        let mut read = Self::new(bootstrap.trim(), topic);
        for (name, value) in options {
            match name.as_str() {
                "bootstrap_servers" => {}
                "topic" => read.topic.clone_from(value),
                "until" if value == "end" => read.until_end = true,
                "partitions" => read.partitions = number(name, value, "1 or more").and_then(positive)?,
                "replication" => read.replication = number(name, value, "1 or more")?,
                "timeout" => read.timeout = span(name, value)?,
                "create" if value == "true" || value == "false" => read.create = value == "true",
                "insecure" if value == "true" || value == "false" => {}
                "append_time" => read.append_time = Some(append_time(value)?),
                "security.protocol" => read.set(name, value)?,
                _ if name.starts_with("sasl.") || name.starts_with("ssl.") => read.set(name, value)?,
                _ => match name.strip_prefix("kafka.") {
                    Some(property) => read.set(property, value)?,
                    None => return Err(bad(name, "a value that the option takes; see its description")),
                },
            }
        }
        let protocol = read.properties.get("security.protocol").map(|p| p.to_ascii_lowercase());
        let insecure = options.get("insecure").is_some_and(|v| v == "true");
        if protocol.as_deref() == Some("sasl_plaintext") && !insecure {
            return Err(Error::new(Code::BadOption, "SASL without TLS shows the password to the network")
                .expected("security.protocol = 'sasl_ssl', or insecure = 'true' beside it"));
        }
        Ok(read)
    }

    fn set(&mut self, property: &str, value: &str) -> Result<()> {
        if FIXED.contains(&property) {
            return Err(Error::new(Code::BadOption, format!("weir sets {property} itself"))
                .expected("the option left out"));
        }
        let value = if property.starts_with("sasl.") || property.starts_with("ssl.") {
            look_up(property, value)?
        } else {
            value.to_owned()
        };
        self.properties.insert(property.to_owned(), value);
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (property, value) in &self.properties {
            config.set(property, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "weir")
            // A broker that comes back is found again within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.nagle.disable", "true")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// For questions (metadata, end positions): never assigned a partition.
    pub fn asker(&self, committed: bool) -> ClientConfig {
        let mut config = self.client();
        config.set("isolation.level", if committed { "read_committed" } else { "read_uncommitted" });
        config
    }

    /// For reading committed records of one assigned partition. The group name is only there because
    /// librdkafka assigns nothing without one; nothing is ever committed to it.
    pub fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", "weir")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", FETCH_AHEAD_KIB)
            .set("fetch.message.max.bytes", FETCH_BYTES)
            // Its default of 1 s stalls a reader each time its queue was full.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50");
        config
    }

    /// For a member of a group, which reads nothing itself. Where the table's options do not say otherwise,
    /// a member that is dead is noticed after ten seconds, and one that does not give back after a minute.
    pub fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "range")
            .set("enable.partition.eof", "false");
        for (name, value) in MEMBER {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
    }

    /// For writing with acknowledgement by all replicas, without doubles on retry.
    pub fn writer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2")
            .set("linger.ms", "0")
            .set("queue.buffering.max.kbytes", "65536");
        config
    }
}

fn bad(name: &str, expected: &str) -> Error {
    Error::new(Code::BadOption, format!("option {name} cannot take this value")).expected(expected)
}

fn number<T: std::str::FromStr>(name: &str, value: &str, expected: &str) -> Result<T> {
    value.trim().parse().map_err(|_| bad(name, expected))
}

fn positive(count: u32) -> Result<u32> {
    if count == 0 { Err(bad("partitions", "1 or more")) } else { Ok(count) }
}

fn span(name: &str, value: &str) -> Result<Duration> {
    let us = parse_span(value).and_then(|us| u64::try_from(us).ok()).filter(|us| *us > 0);
    us.map(Duration::from_micros).ok_or_else(|| bad(name, "a span such as '10 seconds'"))
}

fn append_time(value: &str) -> Result<AppendTime> {
    match value {
        "broker" => Ok(AppendTime::Broker),
        "producer" => Ok(AppendTime::Producer),
        _ => Err(bad("append_time", "'broker' or 'producer'")),
    }
}

/// `env:NAME` and `file:PATH` keep secrets out of scripts.
fn look_up(property: &str, value: &str) -> Result<String> {
    let missing = |what: String| {
        Error::new(Code::BadOption, format!("{property} cannot be looked up: {what}"))
            .expected("a set variable or a readable file")
    };
    if let Some(name) = value.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| missing(format!("the variable {name} is not set")));
    }
    if let Some(path) = value.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|e| missing(format!("{path}: {e}")))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(value.to_owned())
}

/// What is wrong with the brokers right now, as `W0401`; nothing where all is well. A reader that
/// finds the broker away goes on trying and says so here.
#[derive(Debug, Clone, Default)]
pub struct Health {
    now: Arc<Mutex<Option<Error>>>,
    /// How often a trouble was met so far.
    met: Arc<AtomicU64>,
}

impl Health {
    pub fn get(&self) -> Option<Error> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    pub fn well(&self) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps the first trouble of an outage. Whoever runs a program says it, once for all its topics.
    pub fn trouble(&self, error: Error) {
        self.met.fetch_add(1, Ordering::Relaxed);
        let mut held = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            tracing::info!(code = %error.code(), "{}", error.what());
            *held = Some(error);
        }
    }
}

/// Takes librdkafka's log lines and global errors.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub health: Health,
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        // What matters comes back as an error; the lines are for whoever debugs a connection.
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::PartitionEOF);
        if let Some(code) = code {
            let error = fault::of_code(code, reason);
            if error.code() == Code::Connect {
                self.health.trouble(error);
            }
        }
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<KafkaOptions> {
        let map = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        KafkaOptions::of_options(&map, "scans")
    }

    #[test]
    fn options_read() {
        let read = options(&[
            ("bootstrap_servers", "h:9092"),
            ("append_time", "producer"),
            ("until", "end"),
            ("timeout", "3 seconds"),
            ("kafka.fetch.wait.max.ms", "20"),
            ("security.protocol", "ssl"),
        ])
        .unwrap();
        assert_eq!((read.topic.as_str(), read.bootstrap.as_str(), read.until_end), ("scans", "h:9092", true));
        assert_eq!(read.append_time, Some(AppendTime::Producer));
        assert_eq!(read.timeout, Duration::from_secs(3));
        let config = read.reader();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("20"));
        assert_eq!(config.get("security.protocol"), Some("ssl"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(read.for_topic("other").writer().get("security.protocol"), Some("ssl"));
    }

    #[test]
    fn what_positions_rest_on_cannot_be_overridden() {
        for fixed in FIXED {
            let error = options(&[("bootstrap_servers", "h:1"), (&format!("kafka.{fixed}"), "x")]).err();
            assert_eq!(error.map(|e| e.code()), Some(Code::BadOption), "{fixed}");
        }
    }

    #[test]
    fn bad_options_are_refused_without_showing_the_value() {
        for (pairs, word) in [
            (&[("topic", "t")][..], "brokers"),
            (&[("bootstrap_servers", "h:1"), ("until", "noon")], "until"),
            (&[("bootstrap_servers", "h:1"), ("partitions", "0")], "partitions"),
            (
                &[("bootstrap_servers", "h:1"), ("sasl.password", "env:WEIR_NO_SUCH_VARIABLE")],
                "sasl.password",
            ),
            (
                &[
                    ("bootstrap_servers", "h:1"),
                    ("security.protocol", "SASL_PLAINTEXT"),
                    ("sasl.password", "hush"),
                ],
                "SASL",
            ),
        ] {
            let error = options(pairs).err().unwrap();
            assert_eq!(error.code(), Code::BadOption);
            assert!(error.what().contains(word), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
