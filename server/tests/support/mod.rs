//! What the tests of the binary against a real Kafka share: a broker that can be stopped, topics, records.

pub mod broker;
pub mod topics;
