//! What became of the records of a transaction, as librdkafka reports it.
//!
//! In:   delivery reports, on librdkafka's own threads. Out: how many landed, and where.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message};

use crate::kafka::config::Context;

/// Where the records of the running transaction landed.
#[derive(Default)]
pub struct Landed {
    state: Mutex<Reports>,
    grew: Condvar,
}

#[derive(Default)]
struct Reports {
    /// Records that landed or failed.
    done: usize,
    /// Of each record that landed: its number in the transaction, partition and offset.
    places: Vec<(usize, i32, i64)>,
}

impl Landed {
    pub fn clear(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Reports::default();
    }

    /// Waits until `records` landed or failed; false where that takes longer than `wait`.
    pub fn wait(&self, records: usize, wait: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grew.wait_timeout_while(state, wait, |reports| reports.done < records);
        waited.unwrap_or_else(PoisonError::into_inner).0.done >= records
    }

    /// Of each record that landed: its number in the transaction, partition and offset.
    pub fn places(&self) -> Vec<(usize, i32, i64)> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).places)
    }
}

pub struct Delivery {
    pub context: Context,
    pub landed: Arc<Landed>,
}

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Delivery {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, nth: usize) {
        let mut state = self.landed.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        // A failed record fails the transaction, and `commit` hears of it there.
        if let Ok(message) = result {
            state.places.push((nth, message.partition(), message.offset()));
        }
        self.landed.grew.notify_all();
    }
}
