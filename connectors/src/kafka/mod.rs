//! Kafka: topics as sources, outputs and the control log.
//!
//! | file       | what                                                          |
//! |------------|---------------------------------------------------------------|
//! | `config`   | options, and the properties that weir fixes                   |
//! | `fault`    | librdkafka's errors as weir's codes                           |
//! | `client`   | the end of a client, which is not waited for without a limit  |
//! | `asker`    | partitions, end positions, identity                           |
//! | `topic_id` | the one call that rdkafka does not wrap                       |
//! | `cursor`   | one assigned partition, read forward                          |
//! | `source`   | records in                                                    |
//! | `sink`     | records out, in transactions                                  |
//! | `control`  | the control log                                               |
//! | `group`    | which of several copies has which partitions, and how far     |
//! | `admin`    | topics made and cut                                           |
//!
//! But for `group` no consumer group is joined and no offset is committed: positions are weir's own.
//! Everything blocks; nothing needs an async runtime.

pub mod admin;
mod asker;
mod client;
mod config;
mod control;
mod cursor;
mod fault;
mod group;
mod sink;
mod source;
mod topic_id;

use std::sync::Arc;

use weir_contract::Result;
use weir_engine::connect::{Connector, OptionDoc};
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::catalog::TableSpec;

pub use admin::{Admin, TimestampType, TopicSetup};
pub use config::KafkaOptions;
pub use control::KafkaControlLog;
pub use group::{KafkaGroup, Turn};
pub use sink::KafkaSink;
pub use source::KafkaSource;

/// `connector = 'kafka'`.
#[derive(Debug, Default, Clone, Copy)]
pub struct KafkaConnector;

impl Connector for KafkaConnector {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn options(&self) -> &'static [OptionDoc] {
        config::OPTIONS
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        let options = KafkaOptions::of_table(table)?;
        Ok(Arc::new(KafkaSource::new(options).map_err(|e| e.or_at(table.place.clone()))?))
    }

    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        let options = KafkaOptions::of_table(table)?;
        Ok(Arc::new(KafkaSink::new(options).map_err(|e| e.or_at(table.place.clone()))?))
    }
}
