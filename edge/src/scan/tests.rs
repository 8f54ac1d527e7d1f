//! Scanners over real pseudo terminals, sockets and files. Their clock is moved by hand: no answer hangs on how
//! fast the machine is.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use crossbeam_channel::{Receiver, bounded};
use weir_contract::clock::ManualClock;

use super::*;
use crate::time::AlwaysSynced;

fn settings(kind: ScannerKind) -> Scanner {
    let timeout_us = (!matches!(kind, ScannerKind::Tcp { .. })).then_some(300_000);
    Scanner { name: "s".into(), kind, symbology: String::new(), chars_max: 64, timeout_us, debounce_us: 0 }
}

const START_US: i64 = 1_000_000;

struct Rig {
    clock: Arc<ManualClock>,
    events: Receiver<ScanEvent>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Rig {
    fn start(settings: Scanner) -> Self {
        let clock = Arc::new(ManualClock::at(START_US));
        let device = DeviceClock::of_machine(clock.clone(), Arc::new(AlwaysSynced(true)));
        let (out, events) = bounded(64);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = start(0, settings, device, clock.clone(), stop.clone(), out).unwrap();
        Self { clock, events, stop, thread: Some(thread) }
    }

    fn next(&self) -> ScanEvent {
        self.events.recv_timeout(Duration::from_secs(60)).expect("an event")
    }

    fn code(&self) -> String {
        loop {
            if let ScanEvent::Code { code, time, .. } = self.next() {
                assert!(time.synced && time.wall_us > 0);
                return code;
            }
        }
    }

    fn wait_for(&self, up: bool) -> LineCounts {
        loop {
            match self.next() {
                ScanEvent::State { trouble, counts, .. } if trouble.is_none() == up => return counts,
                ScanEvent::Code { code, .. } => panic!("a code nobody sent: {code}"),
                _ => {}
            }
        }
    }

    /// Until counts are told that are so.
    fn counted(&self, done: impl Fn(&LineCounts) -> bool) {
        while !done(&self.wait_for(true)) {}
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.events.recv_timeout(Duration::from_millis(10)).is_ok() {}
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A pseudo terminal: the scanner's side, linked at a path as udev would.
#[allow(unsafe_code)]
fn plug(link: &Path) -> File {
    let (mut ours, mut theirs) = (0, 0);
    let mut name = [0_u8; 128];
    // SAFETY: the pointers are to locals, and the name's buffer is longer than any pty's name.
    let done = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            name.as_mut_ptr().cast(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
    // SAFETY: both descriptors are new and owned by nobody else; the other side's is not needed, its name is.
    let (ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let end = name.iter().position(|b| *b == 0).unwrap();
    let _old = std::fs::remove_file(link);
    std::os::unix::fs::symlink(std::str::from_utf8(&name[..end]).unwrap(), link).unwrap();
    drop(theirs);
    assert!(ours.as_raw_fd() > 2);
    ours
}

#[test]
fn a_serial_scanner_is_split_torn_unplugged_and_plugged_again() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("scanner");
    let path = link.display().to_string();
    let rig = Rig::start(settings(ScannerKind::Serial { path, baud: 115_200 }));
    rig.wait_for(false);
    let mut pty = plug(&link);
    rig.wait_for(true);
    for part in [&b"400638"[..], b"133", b"3931\r\n"] {
        pty.write_all(part).unwrap();
        thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(rig.code(), "4006381333931");
    pty.write_all(b"A1\rB2\rhal").unwrap();
    assert_eq!((rig.code(), rig.code()), ("A1".into(), "B2".into()));
    // Unplugged in the middle of a code; what comes then does not begin with its front.
    drop(pty);
    assert_eq!(rig.wait_for(false).partial, 1);
    let mut pty = plug(&link);
    rig.wait_for(true);
    // A code that stops for too long is never given, nor is its rest; both are told at once.
    pty.write_all(b"C3\nfront").unwrap();
    assert_eq!(rig.code(), "C3");
    rig.clock.set(START_US + 300_001);
    rig.counted(|c| c.partial == 2);
    pty.write_all(b"rest\r").unwrap();
    rig.counted(|c| c.partial == 3);
    pty.write_all(b"\nD4\n").unwrap();
    assert_eq!(rig.code(), "D4");
}

#[test]
fn a_reader_on_the_network_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let rig = Rig::start(settings(ScannerKind::Tcp { address }));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"A1\nB2\nha").unwrap();
    assert_eq!((rig.code(), rig.code()), ("A1".into(), "B2".into()));
    drop(stream);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"C3\n400638").unwrap();
    assert_eq!(rig.code(), "C3");
    // The network keeps the order and may take its time.
    rig.clock.set(START_US + 60_000_000);
    stream.write_all(b"1333931\n").unwrap();
    assert_eq!(rig.code(), "4006381333931");
}

/// Its power went: no end of the connection ever comes, and nobody sends it anything.
#[test]
#[allow(unsafe_code)]
fn a_reader_that_is_silent_is_probed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reader = Tcp::open(&listener.local_addr().unwrap().to_string()).unwrap();
    let of = |level, name| {
        let (mut value, mut size) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: both pointers are to locals of the size that is said; the descriptor is open.
        let done = unsafe {
            libc::getsockopt(reader.0.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size)
        };
        assert_eq!(done, 0);
        value
    };
    assert_eq!(of(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    let [idle, interval, count] = PROBES.map(|(name, _)| of(libc::IPPROTO_TCP, name));
    assert!(idle + interval * count <= 30, "noticed within half a minute");
}

#[test]
fn a_script_plays_once_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scans.txt");
    std::fs::write(&path, "# ms code\n0 A1\n50 B2\n50\tC3\n").unwrap();
    let rig = Rig::start(settings(ScannerKind::Script { path: path.display().to_string() }));
    assert_eq!([rig.code(), rig.code(), rig.code()], ["A1", "B2", "C3"]);
    assert_eq!(rig.next(), ScanEvent::Ended { scanner: 0 });
}

#[test]
fn the_same_code_within_the_debounce_is_one_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let rig = Rig::start(Scanner { debounce_us: 200_000, ..settings(ScannerKind::Tcp { address }) });
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"A1\nA1\nB2\n").unwrap();
    assert_eq!([rig.code(), rig.code()], ["A1", "B2"]);
    rig.clock.set(START_US + 199_999);
    stream.write_all(b"B2\n").unwrap();
    rig.counted(|c| (c.repeated, c.codes) == (2, 2));
    rig.clock.set(START_US + 399_999);
    stream.write_all(b"B2\n").unwrap();
    assert_eq!(rig.code(), "B2");
}

#[test]
fn a_scanner_that_ends_no_line_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let rig = Rig::start(settings(ScannerKind::Tcp { address }));
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all("4006381333931".repeat(30).as_bytes()).unwrap();
    let told = loop {
        if let ScanEvent::State { trouble: Some(why), counts, .. } = rig.next() {
            break (why.contains("suffix"), counts.too_long);
        }
    };
    assert_eq!(told, (true, 1));
}

/// Recorded key events in place of a device.
struct Recorded(std::vec::IntoIter<Vec<Input>>);

impl KeySource for Recorded {
    fn read(&mut self) -> io::Result<Vec<Input>> {
        self.0.next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn press(code: u16) -> Vec<Input> {
    let key = |value| [Input::Key(KeyEvent { code, value }), Input::Report];
    [key(1), key(0)].concat()
}

fn typed(inputs: Vec<Vec<Input>>) -> (Vec<String>, LineCounts) {
    let mut typed = Typed::new(Recorded(inputs.into_iter()));
    let mut lines = Lines::new(20, Some(100));
    let (mut codes, mut buffer) = (Vec::new(), [0; 8]);
    while let Ok(chunk) = typed.read(&mut buffer) {
        match chunk {
            Chunk::Bytes(count) => lines.push(&buffer[..count], 0, &mut codes),
            Chunk::Torn => lines.tear(0),
            Chunk::Quiet | Chunk::Gone => {}
        }
    }
    lines.cut();
    (codes, lines.counts)
}

#[test]
fn typed_codes_are_read_like_any_others() {
    let (codes, counts) = typed(vec![[press(30), press(2)].concat(), Vec::new(), press(28), press(48)]);
    assert_eq!((codes, counts.partial), (vec!["a1".to_owned()], 1));
}

/// The kernel's buffer overflows in the second of three codes, while Shift is held.
#[test]
fn a_typed_code_with_a_hole_is_no_code() {
    let shift = |value| vec![Input::Key(KeyEvent { code: 42, value }), Input::Report];
    let all = |codes: &[u16]| codes.iter().flat_map(|code| press(*code)).collect::<Vec<_>>();
    // `a1`, then `SHIFT 2 3 (hole) 4 5`, then `b6`; the hole has the end of Shift.
    let first = all(&[30, 2, 28]);
    let torn =
        [shift(1), all(&[3, 4]), vec![Input::Lost], all(&[5])[..1].to_vec(), vec![Input::Report]].concat();
    let rest = [all(&[6, 28]), all(&[48, 7, 28])].concat();
    let (codes, counts) = typed(vec![[first.clone(), torn].concat(), rest.clone()]);
    assert_eq!(codes, ["a1", "b6"]);
    assert_eq!((counts.codes, counts.partial), (2, 2), "the front and the rest");
    // The hole has the terminator too: the code behind it goes, counted, rather than be joined.
    let (codes, counts) =
        typed(vec![[first, shift(1), all(&[3])].concat(), vec![Input::Lost, Input::Report], rest]);
    assert_eq!((codes, counts.partial), (vec!["a1".to_owned(), "b6".into()], 2));
}

#[test]
fn a_speed_that_no_line_has_is_refused() {
    let refused = Serial::open("/dev/null", 12_345).err().unwrap().to_string();
    assert!(refused.contains("115200"), "{refused}");
}
