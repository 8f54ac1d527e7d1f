//! A topic of a Kafka cluster as a sender.
//!
//! In:   librdkafka's properties as the configuration names them; secrets by `env:NAME` or `file:PATH`.
//! Owns: which properties the order rests on: those cannot be set. Idempotent, all replicas, no time at
//!       which a record is given up: the spool waits, not the producer.
//!
//! K1  A partition has the lane's records in order and without doubles, as long as one producer lives; after
//!     it a new one begins with the oldest record that is not acknowledged.
//! K2  No error text shows a secret. SASL without TLS needs `insecure = true`.
//! K3  What a broker or this device refuses for its certificate or password breaks the sender: the next
//!     producer reads the files of certificates and keys anew, so that mended ones need no restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use weir_contract::{Code, Error, EventTime, Result, wire};

use super::{Outcome, Sender, Sent};
use crate::record::Outgoing;

/// Set here, because order and completeness rest on them.
pub const FIXED: [&str; 10] = [
    "acks",
    "bootstrap.servers",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "partitioner",
    "request.required.acks",
    "transactional.id",
];

/// Checks properties and looks secrets up.
///
/// # Errors
/// `W0204`, by name, never with a value.
pub fn client(brokers: &str, properties: &BTreeMap<String, String>, insecure: bool) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        if FIXED.contains(&name.as_str()) {
            return Err(Error::new(Code::BadOption, format!("weir sets {name} itself"))
                .expected("the property left out"));
        }
        config.set(name, look_up(name, value)?);
    }
    let protocol = properties.get("security.protocol").map(|p| p.to_ascii_lowercase());
    if protocol.as_deref() == Some("sasl_plaintext") && !insecure {
        return Err(Error::new(Code::BadOption, "SASL without TLS shows the password to the network")
            .expected("security.protocol = \"sasl_ssl\", or insecure = true"));
    }
    let defaults = [
        ("linger.ms", "5"),
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "5000"),
        ("compression.type", "zstd"),
        ("queue.buffering.max.kbytes", "8192"),
        ("client.id", "weir-edge"),
    ];
    for (name, value) in defaults {
        if !properties.contains_key(name) {
            config.set(name, value);
        }
    }
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2")
        .set("message.timeout.ms", "0")
        .set_log_level(RDKafkaLogLevel::Warning);
    Ok(config)
}

/// `env:NAME` and `file:PATH` keep secrets out of the configuration.
pub fn look_up(name: &str, value: &str) -> Result<String> {
    let missing = |what: String| {
        Error::new(Code::BadOption, format!("{name} cannot be looked up: {what}"))
            .expected("a set variable or a readable file")
    };
    if let Some(variable) = value.strip_prefix("env:") {
        return std::env::var(variable).map_err(|_| missing(format!("the variable {variable} is not set")));
    }
    if let Some(path) = value.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|e| missing(format!("{path}: {e}")))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(value.to_owned())
}

#[derive(Default)]
struct Said {
    outcomes: Vec<Outcome>,
    /// Append time by the broker, with the record's own place in time.
    append_ms: Option<i64>,
    error: Option<Error>,
    /// Certificates or passwords do not go together: this producer will not mend itself.
    refused: Option<Error>,
}

/// Takes librdkafka's reports, on the thread that polls.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Said>>);

impl Reports {
    fn with<T>(&self, work: impl FnOnce(&mut Said) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        let text = format!("Kafka: {reason}");
        if of_the_identity(error.rdkafka_error_code(), reason) {
            let why = Error::new(Code::Refused, text)
                .expected("a certificate and a password that both sides take")
                .act("operator: certificates of device and broker, ssl.ca.location, sasl.* settings.");
            self.with(|said| said.refused = Some(why));
        } else {
            self.with(|said| said.error = Some(Error::new(Code::Connect, text)));
        }
    }
}

impl ProducerContext for Reports {
    /// Offset in the lane; none for a heartbeat.
    type DeliveryOpaque = Box<Option<i64>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Self::DeliveryOpaque) {
        if result.is_ok() {
            self.with(|said| said.error = None);
        }
        let Some(offset) = *tag else { return };
        self.with(|said| match result {
            Ok(message) => {
                if let Timestamp::LogAppendTime(ms) = message.timestamp() {
                    said.append_ms = Some(ms);
                }
                said.outcomes.push(Outcome::Acked(offset));
            }
            Err((error, _)) => said.outcomes.push(match error.rdkafka_error_code() {
                Some(code) if of_the_record(code) => {
                    Outcome::Refused(offset, Error::new(Code::Refused, format!("Kafka: {code}")))
                }
                code => Outcome::Broken(Error::new(kind(code), format!("Kafka: {error}"))),
            }),
        });
    }
}

/// Who has to act.
fn kind(code: Option<RDKafkaErrorCode>) -> Code {
    use RDKafkaErrorCode as K;
    match code {
        Some(K::UnknownTopicOrPartition | K::UnknownTopic | K::UnknownPartition) => Code::NoTopic,
        Some(
            K::TopicAuthorizationFailed
            | K::ClusterAuthorizationFailed
            | K::Authentication
            | K::SaslAuthenticationFailed,
        ) => Code::Refused,
        _ => Code::Connect,
    }
}

/// The record itself is at fault; the next one may be taken.
fn of_the_record(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as K;
    matches!(code, K::MessageSizeTooLarge | K::InvalidMessageSize | K::InvalidRecord | K::InvalidMessage)
}

/// TLS says most of its refusals in words only: an alert of the broker reaches librdkafka as a lost connection.
fn of_the_identity(code: Option<RDKafkaErrorCode>, reason: &str) -> bool {
    use RDKafkaErrorCode as K;
    let by_code = matches!(code, Some(K::Authentication | K::SaslAuthenticationFailed));
    by_code || reason.contains("certificate") || reason.contains("SSL alert") || reason.contains(" alert ")
}

/// One topic.
pub struct KafkaSender {
    config: ClientConfig,
    topic: String,
    /// None after a break, until the publisher sends again: its pause is the pause of connecting too.
    producer: Option<BaseProducer<Reports>>,
    reports: Reports,
    clock_offset_ms: Option<i64>,
}

impl KafkaSender {
    /// # Errors
    /// `W0204` where librdkafka does not take the properties.
    pub fn new(config: ClientConfig, topic: &str) -> Result<Self> {
        let reports = Reports::default();
        let producer = Some(make(&config, &reports)?);
        Ok(Self { config, topic: topic.into(), producer, reports, clock_offset_ms: None })
    }

    fn give(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &[(String, Vec<u8>)],
        tag: Option<i64>,
        ms: i64,
    ) -> bool {
        let mut own = OwnedHeaders::new_with_capacity(headers.len());
        for (name, value) in headers {
            own = own.insert(Header { key: name, value: Some(value.as_slice()) });
        }
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.topic, Box::new(tag))
            .key(key)
            .headers(own)
            .timestamp(ms);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if self.producer.is_none() {
            match make(&self.config, &self.reports) {
                Ok(producer) => self.producer = Some(producer),
                // A certificate that is being replaced may be missing for a moment.
                Err(why) => self.reports.with(|said| said.outcomes.push(Outcome::Broken(why))),
            }
        }
        let Some(producer) = &self.producer else { return true };
        match producer.send(record) {
            Ok(()) => true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
            Err((error, _)) => {
                let why = format!("Kafka, topic {}: {error}", self.topic);
                let of_it = error.rdkafka_error_code().is_some_and(of_the_record);
                self.reports.with(|said| match tag {
                    Some(offset) if of_it => {
                        said.outcomes.push(Outcome::Refused(offset, Error::new(Code::Refused, why)));
                    }
                    _ => {
                        let code = kind(error.rdkafka_error_code());
                        said.outcomes.push(Outcome::Broken(Error::new(code, why)));
                    }
                });
                // Taken, in the sense that its outcome is known.
                true
            }
        }
    }
}

fn make(config: &ClientConfig, reports: &Reports) -> Result<BaseProducer<Reports>> {
    config.create_with_context(reports.clone()).map_err(|e| match e {
        KafkaError::ClientConfig(_, why, property, _) => {
            Error::new(Code::BadOption, format!("Kafka property {property}: {why}"))
        }
        other => Error::new(Code::BadOption, format!("Kafka: {other}")),
    })
}

impl Sender for KafkaSender {
    fn send(&mut self, record: Outgoing) -> Sent {
        let ms = record.time_us.div_euclid(1_000);
        if self.give(&record.key, Some(&record.value), &record.headers, Some(record.offset), ms) {
            Sent::Taken
        } else {
            Sent::Full(Box::new(record))
        }
    }

    fn heartbeat(&mut self, key: &[u8], time_us: i64) -> bool {
        // While brokers are away heartbeats would only pile up.
        if !self.idle() && self.reports.with(|said| said.error.is_some()) {
            return false;
        }
        let header = (wire::HEARTBEAT.to_owned(), EventTime(time_us).to_string().into_bytes());
        self.give(key, None, &[header], None, time_us.div_euclid(1_000))
    }

    fn poll(&mut self, now_us: i64) -> Vec<Outcome> {
        if let Some(producer) = &self.producer {
            producer.poll(Duration::ZERO);
        }
        let said = self.reports.with(|said| Said {
            outcomes: std::mem::take(&mut said.outcomes),
            append_ms: said.append_ms.take(),
            error: None,
            refused: said.refused.take(),
        });
        if let Some(append_ms) = said.append_ms {
            self.clock_offset_ms = Some(now_us.div_euclid(1_000) - append_ms);
        }
        let mut outcomes = said.outcomes;
        outcomes.extend(said.refused.map(Outcome::Broken));
        let fatal = self.producer.as_ref().and_then(|p| p.client().fatal_error());
        if let Some((code, why)) = fatal {
            outcomes.push(Outcome::Broken(Error::new(Code::Connect, format!("Kafka: {code}: {why}"))));
        }
        let Some(broken) = outcomes.iter().position(|o| matches!(o, Outcome::Broken(_))) else {
            return outcomes;
        };
        outcomes.truncate(broken + 1);
        // What the old producer still holds must not arrive behind what is sent again.
        self.reports = Reports::default();
        if let Some(old) = self.producer.take() {
            old.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
        outcomes
    }

    fn idle(&self) -> bool {
        self.producer.as_ref().is_none_or(|p| p.in_flight_count() == 0)
    }

    fn trouble(&self) -> Option<Error> {
        self.reports.with(|said| said.error.clone())
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.clock_offset_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn what_order_rests_on_cannot_be_set_and_secrets_stay_secret() {
        for fixed in FIXED {
            let error = client("h:1", &properties(&[(fixed, "x")]), false).unwrap_err();
            assert_eq!(error.code(), Code::BadOption, "{fixed}");
        }
        let open = properties(&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.password", "hush")]);
        let error = client("h:1", &open, false).unwrap_err().to_string();
        assert!(error.contains("SASL") && !error.contains("hush"), "{error}");
        assert!(client("h:1", &open, true).is_ok());
        let error = client("h:1", &properties(&[("sasl.password", "env:WEIR_NO_SUCH")]), false).unwrap_err();
        assert!(error.what().contains("sasl.password"));
    }

    #[test]
    fn tls_and_sasl_are_passed_through() {
        let set = properties(&[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("linger.ms", "0"),
        ]);
        let config = client("h:9093", &set, false).unwrap();
        for (name, value) in [
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/etc/ca.pem"),
            ("linger.ms", "0"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "0"),
        ] {
            assert_eq!(config.get(name), Some(value));
        }
    }
}
