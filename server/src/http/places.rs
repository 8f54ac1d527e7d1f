//! Who may be connected: as many peers as there are places, devices before strangers.
//!
//! In:   connections that came, and whether they have shown a good token since. Out: places.
//! Owns: which connection ends for a new one: the oldest that showed none, and never one that did.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

/// Places, and who sits there without a name.
pub struct Places {
    free: Arc<Semaphore>,
    count: usize,
    /// Oldest first; some have become known or have ended since.
    strangers: VecDeque<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Places {
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), count, strangers: VecDeque::new() }
    }

    /// A place; where there is none, that of the oldest stranger, whose connection ends. None where all are known.
    pub async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some(place);
        }
        while let Some((known, task)) = self.strangers.pop_front() {
            if known.load(Ordering::Relaxed) || task.is_finished() {
                continue;
            }
            task.abort();
            // Its place is free when it has ended, which takes no input of anybody.
            let _it_was_cancelled = task.await;
            return self.free.clone().try_acquire_owned().ok();
        }
        None
    }

    /// A connection sits down; `known` becomes true with its first good token.
    pub fn seat(&mut self, known: Arc<AtomicBool>, task: JoinHandle<()>) {
        if self.strangers.len() >= 2 * self.count {
            self.strangers.retain(|(known, task)| !known.load(Ordering::Relaxed) && !task.is_finished());
        }
        self.strangers.push_back((known, task));
    }

    /// Waits until everybody has left.
    pub async fn empty(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        let _all_of_them = self.free.acquire_many(all).await;
    }
}
