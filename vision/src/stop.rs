//! A way to end work that has begun: the waiter stops it, the worker looks.
//!
//! Owns: the hook by which native code is told at once (ONNX Runtime has a flag for it).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weir_contract::{Code, Error};

type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

/// One piece of work's stop. Clones are the same stop; it cannot be taken back.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

impl Stop {
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        let hook = self.0.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hook) = hook.as_ref() {
            hook();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// # Errors
    /// `W0808` where the work was stopped.
    pub fn check(&self, doing: &str) -> Result<(), Error> {
        if self.is_stopped() {
            return Err(Error::new(Code::TooSlow, format!("stopped while {doing}")));
        }
        Ok(())
    }

    /// Runs `work`; `hook` is called, from another thread, if the stop comes meanwhile or came before.
    pub(crate) fn with_hook<T>(&self, hook: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        let put = |hook: Option<Hook>| {
            *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = hook;
        };
        put(Some(Box::new(hook)));
        // A stop before the hook stood there: its caller could not call it.
        if self.is_stopped() {
            self.stop();
        }
        let found = work();
        put(None);
        found
    }
}
