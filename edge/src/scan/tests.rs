//! Scanners over real pseudo terminals, sockets and files.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use crossbeam_channel::{Receiver, bounded};
use weir_contract::WallClock;

use super::*;
use crate::time::AlwaysSynced;

fn settings(kind: ScannerKind) -> Scanner {
    Scanner {
        name: "s".into(),
        kind,
        symbology: String::new(),
        chars_max: 64,
        timeout_us: 300_000,
        debounce_us: 0,
    }
}

struct Rig {
    events: Receiver<ScanEvent>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Rig {
    fn start(settings: Scanner) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let device = DeviceClock::of_machine(clock.clone(), Arc::new(AlwaysSynced(true)));
        let (out, events) = bounded(64);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = start(0, settings, device, clock, stop.clone(), out).unwrap();
        Self { events, stop, thread: Some(thread) }
    }

    fn next(&self) -> ScanEvent {
        self.events.recv_timeout(Duration::from_secs(20)).expect("an event")
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

    fn silent(&self) {
        let more = self.events.recv_timeout(Duration::from_millis(600));
        assert!(!matches!(more, Ok(ScanEvent::Code { .. })), "{more:?}");
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
    thread::sleep(Duration::from_millis(50));
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
    thread::sleep(Duration::from_millis(50));
    pty.write_all(b"C3\n").unwrap();
    assert_eq!(rig.code(), "C3");
    // A code that stops for too long is never given, not even when its rest comes.
    pty.write_all(b"front").unwrap();
    thread::sleep(Duration::from_millis(700));
    pty.write_all(b"D4\n").unwrap();
    assert_eq!(rig.code(), "D4");
    rig.silent();
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
    stream.write_all(b"C3\n").unwrap();
    assert_eq!(rig.code(), "C3");
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scans.txt");
    std::fs::write(&path, "0 A1\n0 A1\n0 B2\n400 B2\n").unwrap();
    let kind = ScannerKind::Script { path: path.display().to_string() };
    let rig = Rig::start(Scanner { debounce_us: 200_000, ..settings(kind) });
    assert_eq!([rig.code(), rig.code(), rig.code()], ["A1", "B2", "B2"]);
}

/// Recorded key events in place of a device.
struct Recorded(std::vec::IntoIter<Vec<KeyEvent>>);

impl KeySource for Recorded {
    fn read(&mut self) -> io::Result<Vec<KeyEvent>> {
        self.0.next().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[test]
fn typed_codes_are_read_like_any_others() {
    let press = |code: u16| vec![KeyEvent { code, value: 1 }, KeyEvent { code, value: 0 }];
    let events = vec![[press(30), press(2)].concat(), Vec::new(), press(28), press(48)];
    let mut typed = Typed::new(Recorded(events.into_iter()));
    let mut lines = Lines::new(20, 100);
    let (mut codes, mut buffer) = (Vec::new(), [0; 8]);
    while let Ok(chunk) = typed.read(&mut buffer) {
        if let Chunk::Bytes(count) = chunk {
            lines.push(&buffer[..count], 0, &mut codes);
        }
    }
    lines.cut();
    assert_eq!((codes, lines.counts.partial), (vec!["a1".to_owned()], 1));
}

#[test]
fn a_speed_that_no_line_has_is_refused() {
    let refused = Serial::open("/dev/null", 12_345).err().unwrap().to_string();
    assert!(refused.contains("115200"), "{refused}");
}
