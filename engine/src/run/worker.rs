//! A worker: one thread that steps its instances until the run is done.
//!
//! In:   instances, and the flags of the program's loop.
//! Out:  the first fault, which ends the run.
//!
//! W1  Nothing is stepped after the loop took an instance during a pause: the flag is looked at again
//!     under the instance's lock. Else a step could send rows that no part of a cut holds.
//! W2  A panic is weir's own bug: it stops the program as a fault, before any commit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use weir_contract::{Code, Error, Result};

use super::instance::Instance;
use super::options::Stop;

/// How long a worker sleeps when none of its instances had anything to do.
const IDLE: Duration = Duration::from_micros(500);

/// What the program's loop and its workers tell each other.
#[derive(Clone, Copy)]
pub struct Flags<'a> {
    pub done: &'a AtomicBool,
    pub pause: &'a AtomicBool,
    pub stop: &'a Stop,
    pub fault: &'a Mutex<Option<Error>>,
}

impl Flags<'_> {
    fn halted(&self) -> bool {
        self.pause.load(Ordering::Acquire) || self.stop.stopping()
    }
}

/// An instance, for oneself.
pub fn held(instance: &Mutex<Instance>) -> Result<MutexGuard<'_, Instance>> {
    instance.lock().map_err(|_| Error::new(Code::Internal, "an instance panicked"))
}

/// Steps instances by turns until the run is done or one of them fails.
pub fn work(mine: &[Arc<Mutex<Instance>>], flags: &Flags<'_>) {
    while !flags.done.load(Ordering::Acquire) {
        let mut busy = false;
        for instance in mine {
            if flags.halted() {
                break;
            }
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                let mut instance = held(instance)?;
                if flags.halted() { Ok(false) } else { instance.step(true) }
            }));
            match stepped.unwrap_or_else(|payload| Err(panicked(&payload))) {
                Ok(did) => busy |= did,
                Err(error) => {
                    if let Ok(mut slot) = flags.fault.lock() {
                        slot.get_or_insert(error);
                    }
                    return;
                }
            }
        }
        if !busy {
            std::thread::sleep(IDLE);
        }
    }
}

/// The words of a panic.
pub fn panicked(payload: &Box<dyn Any + Send>) -> Error {
    let text = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "an assertion failed".into());
    Error::new(Code::Internal, text)
}
