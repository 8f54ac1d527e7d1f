//! Rows between instances: one inbox a receiver, which always accepts.
//!
//! Bounded at admission, not here: a lane fetches only while the bytes in all inboxes and sharded
//! operators are under budget, except the lane that holds everybody back (see `instance`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use weir_contract::{Code, Error, Result};

use super::graph::{Edge, EdgeId};
use crate::base::{internal, internal_arrow};

/// What one instance sends to another.
pub enum Message {
    Rows(RecordBatch),
    Frontier(Vec<i64>),
}

/// What waits for one receiver.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Vec<(EdgeId, usize, Message)>>,
    /// Of what waits; changed under its lock, read without.
    bytes: AtomicUsize,
}

impl Inbox {
    pub fn send(&self, edge: EdgeId, from: usize, message: Message) -> Result<()> {
        let mut waiting = self.lock()?;
        if let Message::Rows(batch) = &message {
            self.bytes.fetch_add(batch.get_array_memory_size(), Ordering::Relaxed);
        }
        waiting.push((edge, from, message));
        Ok(())
    }

    /// Everything that waits, in the order in which each sender sent.
    pub fn take(&self) -> Result<Vec<(EdgeId, usize, Message)>> {
        let mut waiting = self.lock()?;
        self.bytes.store(0, Ordering::Relaxed);
        Ok(std::mem::take(&mut *waiting))
    }

    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.lock()?.is_empty())
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Vec<(EdgeId, usize, Message)>>> {
        self.waiting.lock().map_err(|_| Error::new(Code::Internal, "an inbox is poisoned"))
    }
}

/// Splits rows by the hash of an edge's keys; entry s goes to shard s.
pub fn split(edge: &Edge, batch: &RecordBatch, shards: usize) -> Result<Vec<Option<RecordBatch>>> {
    if shards == 1 {
        return Ok(vec![Some(batch.clone())]);
    }
    let rows = batch.num_rows();
    let keys = edge
        .keys
        .iter()
        .map(|k| k.evaluate(batch).and_then(|v| v.into_array(rows)))
        .collect::<datafusion::error::Result<Vec<_>>>()
        .map_err(internal)?;
    let mut hashes = vec![0u64; rows];
    // A fixed seed: which shard holds a key must be the same after a restart.
    create_hashes(&keys, &RandomState::with_seed(0x7765_6972), &mut hashes).map_err(internal)?;
    let mut picks: Vec<Vec<u32>> = vec![Vec::with_capacity(rows / shards + 1); shards];
    for (row, hash) in hashes.iter().enumerate() {
        picks[(hash % shards as u64) as usize].push(row as u32);
    }
    picks
        .into_iter()
        .map(|rows| match rows.is_empty() {
            true => Ok(None),
            false => take_record_batch(batch, &UInt32Array::from(rows)).map(Some).map_err(internal_arrow),
        })
        .collect()
}
