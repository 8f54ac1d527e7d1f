//! Waits for async calls on a thread that may itself be inside another runtime.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use weir_contract::{Code, Error, Result};

/// A tokio runtime with one worker, for the database's sockets and timers.
pub struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub fn start() -> Result<Self> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("weir-reference")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(|e| Error::new(Code::Reference, format!("no thread for the reference database: {e}")))
    }

    /// Polls a future on the calling thread until it is done; sockets and timers are the worker's.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let _entered = self.0.as_ref().map(tokio::runtime::Runtime::enter);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

impl Runtime {
    /// The same, but given up after a time: a peer that stands still says nothing for ever.
    pub fn wait_at_most<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.wait(async { tokio::time::timeout(limit, future).await.ok() })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // A plain drop blocks, which is refused inside another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_is_given_up() {
        let runtime = Runtime::start().unwrap();
        assert_eq!(runtime.wait_at_most(Duration::from_millis(10), std::future::pending::<()>()), None);
        assert_eq!(runtime.wait_at_most(Duration::from_secs(60), async { 7 }), Some(7));
    }
}
