//! A client of librdkafka, whose end is waited for a while and not for ever.
//!
//! In:   a consumer, producer or admin client. Out: the same, until it is dropped.
//! Owns: how long its end may take.
//!
//! librdkafka's end joins its threads and closes a consumer first, both without a limit. After brokers were away
//! it was seen never to come back (its issues 3954, 4131, 4519): a stop would wait for nothing, since whatever
//! a client owed was done before it is dropped.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Longest an end is waited for: a member of a group that leaves waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client; dropping it ends it.
pub struct Client<T: Send + 'static> {
    inner: ManuallyDrop<T>,
    patience: Duration,
}

impl<T: Send + 'static> Client<T> {
    pub fn new(inner: T) -> Self {
        Self { inner: ManuallyDrop::new(inner), patience: PATIENCE }
    }
}

impl<T: Send + 'static> Deref for Client<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: Send + 'static> Drop for Client<T> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: taken here alone, and nobody reaches it through `self` any more.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        let (done, ended) = sync_channel(1);
        let end = move || {
            drop(inner);
            let _nobody_waits_any_more = done.try_send(());
        };
        // Without a thread it ends here: then the closure is dropped.
        if std::thread::Builder::new().name("kafka end".into()).spawn(end).is_ok()
            && ended.recv_timeout(self.patience).is_err()
        {
            tracing::warn!("a Kafka client did not end within {:?} and is left behind", self.patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender};

    use super::*;

    /// Ends when it is told to, and says so.
    struct Slow(Receiver<()>, SyncSender<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _told_or_alone = self.0.recv();
            let _heard = self.1.try_send(());
        }
    }

    #[test]
    fn an_end_that_does_not_come_holds_nobody() {
        let ((tell, told), (say, said)) = (sync_channel(1), sync_channel(1));
        let mut stuck = Client::new(Slow(told, say));
        stuck.patience = Duration::from_millis(1);
        drop(stuck);
        assert!(said.try_recv().is_err(), "it has not ended");
        tell.send(()).unwrap();
        assert!(said.recv().is_ok(), "it ends when it can");
    }

    #[test]
    fn an_end_that_comes_is_waited_for() {
        let ((tell, told), (say, said)) = (sync_channel(1), sync_channel(1));
        let client = Client::new(Slow(told, say));
        tell.send(()).unwrap();
        drop(client);
        assert!(said.try_recv().is_ok());
    }
}
