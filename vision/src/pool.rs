//! Workers for images: a bounded queue, a time limit for each image, panics caught.
//!
//! In:   items (`submit`), and a way to make a worker (a model of its own, a barcode reader…).
//! Out:  a `Ticket` for each item; counts.
//! Owns: the threads. Decoding, models and barcodes belong here, never on a thread that also waits.
//!
//! P1  The queue is bounded: one item more is refused (`W0809`) and counted.
//! P2  A ticket's wait ends within the limit (`W0808`), whatever the work does; the work is told to stop.
//! P3  A panic becomes an error (`W0810`), and the worker is made anew: what it held may be half done.
//! P4  submitted = done + failed + stopped + panicked + those still inside; refused is beside it.
//!
//! Native code that neither ends nor sees the stop keeps its thread: `inside` stays up, and says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use weir_contract::{Code, Error, Result};

use crate::stop::Stop;

pub const THREADS_MAX: usize = 64;

/// Does one item after the other on one thread.
pub trait Worker<I, O>: Send {
    fn work(&mut self, item: I, stop: &Stop) -> Result<O>;
}

impl<I, O, F: FnMut(I, &Stop) -> Result<O> + Send> Worker<I, O> for F {
    fn work(&mut self, item: I, stop: &Stop) -> Result<O> {
        self(item, stop)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    pub threads: usize,
    /// Items that wait. A frame of 2 Mpx holds 6 MB.
    pub queue_max: usize,
    /// Of one wait: queue and work.
    pub limit: Duration,
}

/// What became of the items so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub submitted: u64,
    pub refused: u64,
    pub done: u64,
    pub failed: u64,
    pub stopped: u64,
    pub panicked: u64,
}

impl Counts {
    /// Waiting or being worked on.
    pub fn inside(&self) -> u64 {
        self.submitted.saturating_sub(self.done + self.failed + self.stopped + self.panicked)
    }
}

#[derive(Default)]
struct Tally {
    submitted: AtomicU64,
    refused: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    stopped: AtomicU64,
    panicked: AtomicU64,
    closing: AtomicBool,
}

struct Job<I, O> {
    item: I,
    stop: Stop,
    answer: Sender<Result<O>>,
}

type Make<I, O> = dyn Fn() -> Result<Box<dyn Worker<I, O>>> + Send + Sync;
/// What a thread works on now.
type Current = Arc<Mutex<Stop>>;

/// Threads with workers. Dropping it stops the work and waits for the threads.
pub struct Pool<I, O> {
    jobs: Option<Sender<Job<I, O>>>,
    threads: Vec<(JoinHandle<()>, Current)>,
    tally: Arc<Tally>,
    limit: Duration,
}

/// The claim to one item's answer. Dropping it stops the work.
pub struct Ticket<O> {
    answer: Receiver<Result<O>>,
    stop: Stop,
    limit: Duration,
}

impl<I: Send + 'static, O: Send + 'static> Pool<I, O> {
    /// Makes a worker for each thread, then starts them.
    ///
    /// # Errors
    /// Those of `make`, and `W0302` where the system gives no thread.
    pub fn start<F>(settings: PoolSettings, make: F) -> Result<Pool<I, O>>
    where
        F: Fn() -> Result<Box<dyn Worker<I, O>>> + Send + Sync + 'static,
    {
        let count = settings.threads.clamp(1, THREADS_MAX);
        let workers = (0..count).map(|_| make()).collect::<Result<Vec<_>>>()?;
        let (sender, receiver) = bounded(settings.queue_max.max(1));
        let mut pool =
            Pool { jobs: Some(sender), threads: Vec::new(), tally: Arc::default(), limit: settings.limit };
        let make: Arc<Make<I, O>> = Arc::new(make);
        for (number, worker) in workers.into_iter().enumerate() {
            let (receiver, make, tally) = (Receiver::clone(&receiver), make.clone(), pool.tally.clone());
            let current = Current::default();
            let held = current.clone();
            let thread = std::thread::Builder::new()
                .name(format!("vision-{number}"))
                .spawn(move || serve(&receiver, Some(worker), &*make, &tally, &held))
                .map_err(|e| Error::new(Code::Internal, format!("no thread for images: {e}")))?;
            pool.threads.push((thread, current));
        }
        Ok(pool)
    }

    /// Puts an item into the queue; never waits.
    ///
    /// # Errors
    /// `W0809` where the queue is full; the item is dropped and counted.
    pub fn submit(&self, item: I) -> Result<Ticket<O>> {
        let (answer, ticket) = bounded(1);
        let stop = Stop::default();
        let job = Job { item, stop: stop.clone(), answer };
        // Before it is there: a quick worker must not be ahead of the count.
        self.tally.submitted.fetch_add(1, SeqCst);
        let sent = self.jobs.as_ref().map_or(Ok(()), |jobs| jobs.try_send(job));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            self.tally.submitted.fetch_sub(1, SeqCst);
            self.tally.refused.fetch_add(1, SeqCst);
            return Err(Error::new(Code::Busy, "the queue of images is full"));
        }
        Ok(Ticket { answer: ticket, stop, limit: self.limit })
    }

    pub fn counts(&self) -> Counts {
        // Outcomes first: an item that ends meanwhile then counts as inside, never as less than none.
        let Tally { submitted, refused, done, failed, stopped, panicked, .. } = &*self.tally;
        let (done, failed) = (done.load(SeqCst), failed.load(SeqCst));
        let (stopped, panicked) = (stopped.load(SeqCst), panicked.load(SeqCst));
        Counts {
            submitted: submitted.load(SeqCst),
            refused: refused.load(SeqCst),
            done,
            failed,
            stopped,
            panicked,
        }
    }
}

impl<I, O> Drop for Pool<I, O> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.tally.closing.store(true, SeqCst);
        for (_, current) in &self.threads {
            current.lock().unwrap_or_else(PoisonError::into_inner).stop();
        }
        for (thread, _) in self.threads.drain(..) {
            // A thread's own panic was caught within it.
            let _ = thread.join();
        }
    }
}

impl<O> Ticket<O> {
    /// Waits for the answer, at most for the pool's limit from now.
    ///
    /// # Errors
    /// The work's own; `W0808` after the limit; `W0810` where a library panicked.
    pub fn wait(self) -> Result<O> {
        match self.answer.recv_timeout(self.limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("not done within {} ms", self.limit.as_millis());
                Err(Error::new(Code::TooSlow, what))
            }
            Err(RecvTimeoutError::Disconnected) => Err(closed()),
        }
    }

    /// The answer, where it is there already. Never waits, and knows no limit: who polls drops the ticket.
    pub fn poll(&self) -> Option<Result<O>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(closed())),
        }
    }
}

fn closed() -> Error {
    Error::new(Code::TooSlow, "the pool was closed")
}

impl<O> Drop for Ticket<O> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn said(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().copied();
    let text = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn serve<I, O>(
    jobs: &Receiver<Job<I, O>>,
    mut worker: Option<Box<dyn Worker<I, O>>>,
    make: &Make<I, O>,
    tally: &Tally,
    current: &Mutex<Stop>,
) {
    for Job { item, stop, answer } in jobs {
        *current.lock().unwrap_or_else(PoisonError::into_inner) = stop.clone();
        // Either `drop` finds this item's stop above, or this sees that the pool closes.
        if tally.closing.load(SeqCst) {
            stop.stop();
        }
        // After a panic the worker is made anew by the next item, so that a failing `make` is an answer.
        let work = || -> Result<O> {
            stop.check("the image waited in the queue")?;
            let worker = match &mut worker {
                Some(worker) => worker,
                none => none.insert(make()?),
            };
            worker.work(item, &stop)
        };
        let (count, found) = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(found)) => (&tally.done, Ok(found)),
            Ok(Err(error)) if error.code() == Code::TooSlow => (&tally.stopped, Err(error)),
            Ok(Err(error)) => (&tally.failed, Err(error)),
            Err(cause) => {
                let broken = worker.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
                (&tally.panicked, Err(Error::new(Code::WorkerPanic, said(&*cause))))
            }
        };
        count.fetch_add(1, SeqCst);
        // The waiter may have gone.
        let _ = answer.send(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(threads: usize, queue_max: usize, limit_ms: u64) -> PoolSettings {
        PoolSettings { threads, queue_max, limit: Duration::from_millis(limit_ms) }
    }

    /// A worker that counts its items, panics on 13, fails on 14, and on 15 waits for its stop.
    fn moody() -> Result<Box<dyn Worker<u32, u32>>> {
        let mut seen = 0;
        Ok(Box::new(move |item: u32, stop: &Stop| {
            seen += 1;
            match item {
                13 => panic!("unlucky"),
                14 => Err(Error::new(Code::BadImage, "fourteen")),
                15 => {
                    while !stop.is_stopped() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    stop.check("waiting")?;
                    Ok(seen)
                }
                _ => Ok(seen),
            }
        }))
    }

    #[test]
    fn a_panic_is_an_answer_and_the_worker_begins_anew() {
        let pool = Pool::start(settings(1, 4, 5000), moody).unwrap();
        let ask = |item| pool.submit(item).unwrap().wait();
        assert_eq!((ask(1), ask(1)), (Ok(1), Ok(2)));
        let error = ask(13).unwrap_err();
        assert_eq!((error.code(), error.what()), (Code::WorkerPanic, "unlucky"));
        assert_eq!(ask(1), Ok(1), "what the panic left behind was thrown away");
        assert_eq!(ask(14).unwrap_err().code(), Code::BadImage);
        assert_eq!(ask(1), Ok(3), "an error leaves the worker as it is");
        let counts = pool.counts();
        assert_eq!((counts.submitted, counts.done, counts.failed, counts.panicked), (6, 4, 1, 1));
        assert_eq!((counts.inside(), counts.refused, counts.stopped), (0, 0, 0));
    }

    #[test]
    fn a_wait_ends_in_time_and_the_work_is_stopped() {
        let pool = Pool::start(settings(1, 4, 30), moody).unwrap();
        let error = pool.submit(15).unwrap().wait().unwrap_err();
        assert_eq!(error.code(), Code::TooSlow);
        assert!(error.what().contains("30 ms"), "{error}");
        // The thread is free again: the stop was seen.
        assert_eq!(Pool::start(settings(1, 4, 5000), moody).unwrap().submit(1).unwrap().wait(), Ok(1));
        drop(pool.submit(15).unwrap());
        while pool.counts().stopped < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pool.counts().inside(), 0);
    }

    #[test]
    fn an_answer_can_be_polled() {
        let begun = Arc::new(AtomicBool::new(false));
        let seen_begun = Arc::clone(&begun);
        let pool = Pool::start(settings(1, 4, 5000), move || {
            let (begun, mut seen) = (Arc::clone(&seen_begun), 0_u32);
            Ok(Box::new(move |item: u32, stop: &Stop| {
                seen += 1;
                begun.store(true, SeqCst);
                while item == 15 && !stop.is_stopped() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(seen)
            }) as Box<dyn Worker<u32, u32>>)
        })
        .unwrap();
        let busy = pool.submit(15).unwrap();
        while !begun.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let next = pool.submit(1).unwrap();
        assert!(busy.poll().is_none() && next.poll().is_none());
        drop(busy);
        let answer = loop {
            match next.poll() {
                Some(answer) => break answer,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(answer, Ok(2));
    }

    #[test]
    fn one_item_more_than_the_queue_holds_is_refused_and_counted() {
        let pool = Pool::start(settings(1, 2, 5000), moody).unwrap();
        let busy = pool.submit(15).unwrap();
        let mut tickets = Vec::new();
        while let Ok(ticket) = pool.submit(1) {
            tickets.push(ticket);
            assert!(tickets.len() <= 3, "two wait, and one may have been taken before the first");
        }
        assert_eq!(pool.counts().refused, 1);
        drop(busy);
        for ticket in tickets {
            assert!(ticket.wait().is_ok());
        }
        let counts = pool.counts();
        assert_eq!(counts.submitted, counts.done + counts.stopped);
    }

    #[test]
    fn a_closed_pool_answers_and_ends() {
        let pool = Pool::start(settings(2, 8, 60_000), moody).unwrap();
        let tickets: Vec<_> = (0..4).map(|_| pool.submit(15).unwrap()).collect();
        let waits: Vec<_> = tickets.into_iter().map(|t| std::thread::spawn(move || t.wait())).collect();
        while pool.counts().submitted < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(pool);
        for wait in waits {
            assert_eq!(wait.join().unwrap().unwrap_err().code(), Code::TooSlow);
        }
    }

    #[test]
    fn a_worker_that_cannot_be_made_is_an_error_at_the_start() {
        let none = || Err(Error::new(Code::NoModel, "no such file"));
        let error = Pool::<u32, u32>::start(settings(2, 1, 10), none).err().unwrap();
        assert_eq!(error.code(), Code::NoModel);
    }
}
