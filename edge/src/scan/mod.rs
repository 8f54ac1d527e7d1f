//! Scanners: whatever way the characters come, whole codes with the time of their last character.
//!
//! In:   a scanner's settings. Out: [`ScanEvent`]s on a bounded channel; a full one makes the scanner wait.
//! Owns: one thread per scanner, which opens it, reads it and opens it again when it goes away.
//!
//! C1  No part of a code is ever given as a code (`lines`). An unplugged scanner loses the code it was in.
//! C2  An end of the other side, an error and a missing device are the same: tried again, with growing
//!     pauses, for ever. A script and standard input end.
//! C3  What is thrown away is told when it happens, not when the device goes.

mod keys;
mod lines;
mod serial;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use weir_contract::{Clock, Code, Error, Result};

pub use keys::{Input, InputDevice, KeyEvent, KeySource, Keys};
pub use lines::{LineCounts, Lines, SYMBOLOGIES, is_code, symbology};
pub use serial::Serial;

use crate::config::{Scanner, ScannerKind};
use crate::time::{DeviceClock, DeviceTime, rest};

const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
const WAIT: Duration = Duration::from_millis(100);

/// What a scanner says.
#[derive(Debug, Clone, PartialEq)]
pub enum ScanEvent {
    Code {
        scanner: usize,
        code: String,
        time: DeviceTime,
    },
    /// The device answers, or why not.
    State {
        scanner: usize,
        trouble: Option<String>,
        counts: LineCounts,
    },
    /// Nothing more will come.
    Ended {
        scanner: usize,
    },
}

/// One read of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    Bytes(usize),
    /// Nothing for a moment.
    Quiet,
    /// Characters were lost here.
    Torn,
    /// The other side is gone; opening it again may help.
    Gone,
}

/// A device that gives characters.
pub trait ByteSource: Send {
    /// Waits a tenth of a second at most.
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk>;
}

/// True where a read would not wait; false after `ms`.
#[allow(unsafe_code)]
pub(crate) fn wait_readable(fd: RawFd, ms: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid `pollfd`, a local that outlives the call; the caller holds the descriptor open.
    let ready = unsafe { libc::poll(&raw mut poll, 1, ms) };
    match ready {
        0 => Ok(false),
        n if n > 0 => Ok(true),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            e => Err(e),
        },
    }
}

/// Seconds of silence before a reader is probed, between probes, and how many may go without an answer.
const PROBES: [(libc::c_int, libc::c_int); 3] =
    [(libc::TCP_KEEPIDLE, 10), (libc::TCP_KEEPINTVL, 5), (libc::TCP_KEEPCNT, 3)];

/// A reader that lost its power never says so, and nothing is ever sent to it: without probes it would be listened
/// to for ever.
#[allow(unsafe_code)]
fn probed(stream: &TcpStream) -> io::Result<()> {
    let on = (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    for (level, name, value) in
        std::iter::once(on).chain(PROBES.map(|(name, value)| (libc::IPPROTO_TCP, name, value)))
    {
        let (value, size): (libc::c_int, _) = (value, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the descriptor is open throughout; the pointer is to a local of the size that is said.
        let done =
            unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), size) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

struct Tcp(TcpStream);

impl Tcp {
    fn open(address: &str) -> io::Result<Self> {
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(WAIT))?;
                    probed(&stream)?;
                    return Ok(Self(stream));
                }
                Err(e) => refused = e,
            }
        }
        Err(refused)
    }
}

impl ByteSource for Tcp {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk> {
        match self.0.read(into) {
            Ok(0) => Ok(Chunk::Gone),
            Ok(count) => Ok(Chunk::Bytes(count)),
            // A read that waited in vain; `TimedOut` is a reader that answers no probe.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Chunk::Quiet)
            }
            Err(e) => Err(e),
        }
    }
}

struct Stdin;

impl ByteSource for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk> {
        if !wait_readable(libc::STDIN_FILENO, 100)? {
            return Ok(Chunk::Quiet);
        }
        match io::stdin().lock().read(into)? {
            0 => Ok(Chunk::Gone),
            count => Ok(Chunk::Bytes(count)),
        }
    }
}

/// Keys that were typed, as characters.
pub struct Typed<S> {
    source: S,
    keys: Keys,
    inputs: VecDeque<Input>,
    waiting: Vec<u8>,
}

impl<S: KeySource> Typed<S> {
    pub fn new(source: S) -> Self {
        Self { source, keys: Keys::default(), inputs: VecDeque::new(), waiting: Vec::new() }
    }
}

impl<S: KeySource> ByteSource for Typed<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk> {
        if self.waiting.is_empty() && self.inputs.is_empty() {
            self.inputs.extend(self.source.read()?);
        }
        // What was typed before a loss goes out before it is told.
        while let Some(input) = self.inputs.front().copied()
            && (self.waiting.is_empty() || input != Input::Lost)
        {
            self.inputs.pop_front();
            self.keys.take(input, &mut self.waiting);
            if input == Input::Lost {
                return Ok(Chunk::Torn);
            }
        }
        let count = self.waiting.len().min(into.len());
        into[..count].copy_from_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        Ok(if count == 0 { Chunk::Quiet } else { Chunk::Bytes(count) })
    }
}

fn open(kind: &ScannerKind) -> io::Result<Box<dyn ByteSource>> {
    Ok(match kind {
        ScannerKind::Serial { path, baud } => Box::new(Serial::open(path, *baud)?),
        ScannerKind::Tcp { address } => Box::new(Tcp::open(address)?),
        ScannerKind::Hid { path } => Box::new(Typed::new(InputDevice::open(path)?)),
        ScannerKind::Stdin => Box::new(Stdin),
        ScannerKind::Script { path } => Box::new(Script::open(path)?),
    })
}

/// Tries a scanner once, for `weir-edge doctor`.
pub fn probe(kind: &ScannerKind) -> io::Result<()> {
    open(kind).map(drop)
}

/// Lines of a file, each when its milliseconds since the start have passed.
struct Script {
    lines: Vec<(Duration, String)>,
    at: usize,
    played: Duration,
}

impl Script {
    fn open(path: &str) -> io::Result<Self> {
        let bad = |number: usize| {
            let what = format!("line {number} is not `milliseconds barcode`");
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(std::fs::read_to_string(path)?.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (ms, code) = line.trim().split_once([' ', '\t', ',']).ok_or_else(|| bad(number))?;
            let ms = ms.parse().map_err(|_| bad(number))?;
            lines.push((Duration::from_millis(ms), format!("{}\n", code.trim())));
        }
        Ok(Self { lines, at: 0, played: Duration::ZERO })
    }
}

impl ByteSource for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk> {
        let Some((due, line)) = self.lines.get(self.at) else { return Ok(Chunk::Gone) };
        if *due > self.played {
            let wait = (*due - self.played).min(WAIT);
            thread::sleep(wait);
            self.played += wait;
            return Ok(Chunk::Quiet);
        }
        let count = line.len().min(into.len());
        into[..count].copy_from_slice(&line.as_bytes()[..count]);
        self.at += 1;
        Ok(Chunk::Bytes(count))
    }
}

/// Runs a scanner in a thread of its own until `stop` is set, or it has ended.
pub fn start(
    number: usize,
    settings: Scanner,
    device: DeviceClock,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    out: Sender<ScanEvent>,
) -> Result<thread::JoinHandle<()>> {
    let ends = matches!(settings.kind, ScannerKind::Stdin | ScannerKind::Script { .. });
    let kind = settings.kind.clone();
    let scanner = Running { number, settings, device, clock, stop, out };
    thread::Builder::new()
        .name(format!("scanner {number}"))
        .spawn(move || scanner.run(ends, || open(&kind)))
        .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))
}

struct Running {
    number: usize,
    settings: Scanner,
    device: DeviceClock,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    out: Sender<ScanEvent>,
}

impl Running {
    fn now_us(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }

    fn state(&self, trouble: Option<String>, lines: &Lines) -> bool {
        let trouble = trouble.or_else(|| lines.trouble().map(str::to_owned));
        let event = ScanEvent::State { scanner: self.number, trouble, counts: lines.counts };
        self.out.send(event).is_ok()
    }

    fn run(self, ends: bool, mut open: impl FnMut() -> io::Result<Box<dyn ByteSource>>) {
        let mut lines = Lines::new(self.settings.chars_max, self.settings.timeout_us);
        let mut pause = PAUSE.0;
        let mut last: Option<(String, i64)> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let trouble = match open() {
                Ok(mut source) => {
                    if !self.state(None, &lines) {
                        return;
                    }
                    pause = PAUSE.0;
                    let ended = self.listen(&mut *source, &mut lines, &mut last);
                    lines.cut();
                    match ended {
                        None => return,
                        Some(_) if ends => {
                            let _nobody_listens = self.out.send(ScanEvent::Ended { scanner: self.number });
                            return;
                        }
                        Some(trouble) => trouble,
                    }
                }
                Err(e) => e.to_string(),
            };
            if !self.state(Some(trouble), &lines) {
                return;
            }
            rest(pause, &self.stop);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Reads until the device is gone; gives why. None where nobody wants to hear more.
    fn listen(
        &self,
        source: &mut dyn ByteSource,
        lines: &mut Lines,
        last: &mut Option<(String, i64)>,
    ) -> Option<String> {
        let mut buffer = [0; 4_096];
        let mut codes = Vec::new();
        // Codes are told by themselves.
        let bad = |lines: &Lines| (LineCounts { codes: 0, ..lines.counts }, lines.trouble());
        let mut told = bad(lines);
        while !self.stop.load(Ordering::Relaxed) {
            match source.read(&mut buffer) {
                Ok(Chunk::Quiet) => lines.expire(self.now_us()),
                Ok(Chunk::Torn) => lines.tear(self.now_us()),
                Ok(Chunk::Gone) => return Some("the other side is gone".into()),
                Ok(Chunk::Bytes(count)) => {
                    let now = self.now_us();
                    let time = self.device.now();
                    lines.push(&buffer[..count], now, &mut codes);
                    for code in codes.drain(..) {
                        let again = last.as_ref().is_some_and(|(before, at)| {
                            *before == code && now - at < self.settings.debounce_us
                        });
                        *last = Some((code.clone(), now));
                        if again {
                            lines.counts.codes -= 1;
                            lines.counts.repeated += 1;
                            continue;
                        }
                        let event = ScanEvent::Code { scanner: self.number, code, time };
                        if self.out.send(event).is_err() {
                            return None;
                        }
                    }
                }
                Err(e) => return Some(e.to_string()),
            }
            if bad(lines) != told {
                told = bad(lines);
                if !self.state(None, lines) {
                    return None;
                }
            }
        }
        None
    }
}
