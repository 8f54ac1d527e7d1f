//! Cameras that stall, flood, write garbage and end, as real processes, folders and sockets.

use std::io::Write;
use std::net::TcpListener;

use weir_contract::WallClock;

use super::folder::Folder;
use super::split::test_jpeg;
use super::*;
use crate::config::Trigger;
use crate::time::AlwaysSynced;
use crate::web::Tls;

struct Rig {
    shared: Shared,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    folder: tempfile::TempDir,
}

fn camera(kind: CameraKind) -> Camera {
    Camera {
        name: "c".into(),
        kind,
        trigger: Trigger::Continuous { rate: 10.0 },
        idle_every_us: 1,
        frame_bytes_max: 100_000,
        stall_us: 400_000,
        barcodes: None,
    }
}

impl Rig {
    fn start(folder: tempfile::TempDir, camera: Camera) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let device = DeviceClock::of_machine(clock.clone(), Arc::new(AlwaysSynced(true)));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, thread) = start(0, camera, device, clock, stop.clone(), Box::new(|| {})).unwrap();
        Self { shared, stop, thread: Some(thread), folder }
    }

    /// A child of this shell line; `$F` is a file with one JPEG.
    fn shell(line: &str) -> Self {
        Self::shell_with(line, 400_000)
    }

    fn shell_with(line: &str, stall_us: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("frame.jpg");
        std::fs::write(&file, test_jpeg(7, 2_000)).unwrap();
        let line = line.replace("$F", &file.display().to_string());
        let command = ["sh", "-c", &line].map(str::to_owned).to_vec();
        Self::start(folder, Camera { stall_us, ..camera(CameraKind::Command { command }) })
    }

    fn until(&self, what: &str, done: impl Fn(&CameraState) -> bool) -> CameraState {
        let until = WallClock.monotonic() + Duration::from_secs(30);
        loop {
            let state = self.shared.state();
            if done(&state) {
                return state;
            }
            assert!(WallClock.monotonic() < until, "{what}: {state:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn frame(&self) -> Frame {
        let until = WallClock.monotonic() + Duration::from_secs(120);
        loop {
            if let Some(frame) = self.shared.take() {
                return frame;
            }
            assert!(WallClock.monotonic() < until, "{:?}", self.shared.state());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_child_that_stalls_is_killed_and_begun_again() {
    let rig = Rig::shell("cat $F; sleep 1000 & sleep 1000");
    assert_eq!(rig.frame().jpeg.bytes, test_jpeg(7, 2_000));
    let state = rig.until("a stall", |s| s.stalls >= 1);
    assert!(state.starts >= 1);
    rig.frame();
    // Until the next life's first frame: seen at this stall or at a later one.
    let told = |s: &CameraState| s.trouble.as_ref().is_some_and(|t| t.contains("no frame for 400 ms"));
    rig.until("a second stall, told", |s| s.stalls >= 2 && told(s));
}

/// What the child started and let go holds its end of the pipe: nobody waits for that.
#[test]
fn a_child_whose_own_child_outlives_it_is_begun_again() {
    let rig = Rig::shell("setsid sleep 300 & echo $! >> $F.pids; cat $F; exec sleep 1000");
    rig.frame();
    rig.until("a stall", |s| s.stalls >= 1);
    rig.frame();
    rig.stop.store(true, Ordering::Relaxed);
    rig.until("its end", |s| !s.running);
    let pids = std::fs::read_to_string(rig.folder.path().join("frame.jpg.pids")).unwrap();
    for pid in pids.lines() {
        let _ended = std::process::Command::new("kill").arg(pid).status();
    }
}

#[test]
fn the_first_frame_may_take_longer_than_a_stall() {
    let rig = Rig::shell("sleep 1; cat $F; sleep 1000");
    assert_eq!(rig.frame().jpeg.bytes, test_jpeg(7, 2_000));
    assert_eq!((patience_us(400_000, false), patience_us(400_000, true)), (15_000_000, 400_000));
    assert_eq!(patience_us(20_000_000, false), 20_000_000);
}

#[test]
fn a_child_that_ends_is_begun_again_with_pauses_and_says_why() {
    let rig = Rig::shell("echo 'no camera is attached' >&2; exit 3");
    let state = rig.until("several starts", |s| s.starts >= 3 && !s.running);
    let trouble = state.trouble.unwrap();
    assert!(trouble.contains("no camera is attached") && trouble.contains('3'), "{trouble}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let command = vec!["weir-no-such-program".to_owned()];
    let rig = Rig::start(folder, camera(CameraKind::Command { command }));
    let state = rig.until("trouble", |s| s.trouble.is_some());
    assert!(state.trouble.unwrap().contains("weir-no-such-program"));
}

/// In a process of its own: the peak of memory is the whole process's.
#[test]
fn garbage_and_a_frame_of_100_mb_are_passed_over_in_bounded_memory() {
    const ALONE: &str = "WEIR_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let (_, module) = module_path!().split_once("::").unwrap();
        let name = format!("{module}::garbage_and_a_frame_of_100_mb_are_passed_over_in_bounded_memory");
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        let done = own.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let huge = "printf '\\377\\330\\377\\332\\000\\002'; head -c 104857600 /dev/zero";
    let line = format!("head -c 2000000 /dev/urandom; {huge}; while cat $F; do sleep 0.05; done");
    let rig = Rig::shell_with(&line, 60_000_000);
    let until = WallClock.monotonic() + Duration::from_secs(120);
    while rig.frame().jpeg.bytes != test_jpeg(7, 2_000) {
        assert!(WallClock.monotonic() < until);
    }
    let state = rig.shared.state();
    assert!(state.split.too_large >= 1 && state.split.skipped_bytes > 50_000_000, "{state:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 256 << 10, "{peak} kB");
}

#[test]
fn frames_that_nobody_takes_give_way_counted() {
    let line = "for n in 1 2 3 4 5 6 7 8 9; do cat $F; done; sleep 1000";
    let rig = Rig::shell_with(line, 60_000_000);
    let state = rig.until("nine frames", |s| s.split.frames >= 9);
    assert_eq!(state.dropped, state.split.frames - FRAMES_MAX as u64);
    assert!(rig.shared.take().is_some() && rig.shared.take().is_some());
}

#[test]
fn a_folder_is_a_recorded_camera() {
    let folder = tempfile::tempdir().unwrap();
    for number in [2_u8, 1, 3] {
        std::fs::write(folder.path().join(format!("{number}.jpg")), test_jpeg(number, 20)).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "no frame").unwrap();
    std::fs::write(folder.path().join("4.JPG"), vec![0xff; 200_000]).unwrap();
    let path = folder.path().display().to_string();
    // Without the queue, which lets frames go that are not taken in time.
    let mut source = Folder::open(&path, 60.0, 100_000, Arc::default()).unwrap();
    let (mut splitter, mut frames, mut buffer) = (Splitter::new(100_000), Vec::new(), vec![0; 64 << 10]);
    while frames.len() < 7 {
        let count = source.read(&mut buffer).unwrap();
        splitter.push(&buffer[..count], &mut frames);
    }
    let expected = [1, 2, 3, 1, 2, 3, 1].map(|number| test_jpeg(number, 20));
    assert_eq!(frames.into_iter().map(|f| f.bytes).collect::<Vec<_>>(), expected);
    assert!(Folder::open("/no/such/folder", 60.0, 100_000, Arc::default()).is_err());
    // And through a camera's thread.
    let rig = Rig::start(folder, camera(CameraKind::Folder { path, fps: 20.0 }));
    let frame = rig.frame().jpeg.bytes;
    assert!([1, 2, 3].iter().any(|number| frame == test_jpeg(*number, 20)));
}

#[test]
fn a_camera_on_the_network_breaks_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/video", listener.local_addr().unwrap());
    let kind = CameraKind::Http { url, tls: Tls::default() };
    // The other side breaks here, not the silence of a busy machine.
    let rig = Rig::start(tempfile::tempdir().unwrap(), Camera { stall_us: 30_000_000, ..camera(kind) });
    let serve = |frames: &[u8], number: u8| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1_024];
        let _headers = std::io::Read::read(&mut stream, &mut request).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for _ in frames {
            stream.write_all(b"--b\r\nContent-Type: image/jpeg\r\n\r\n").unwrap();
            stream.write_all(&test_jpeg(number, 500)).unwrap();
        }
        stream
    };
    let first = serve(&[0], 1);
    assert_eq!(rig.frame().jpeg.bytes, test_jpeg(1, 500));
    drop(first);
    let second = serve(&[0, 0], 2);
    assert_eq!(rig.frame().jpeg.bytes, test_jpeg(2, 500));
    rig.until("a second start", |s| s.starts >= 2);
    rig.stop.store(true, Ordering::Relaxed);
    drop(second);
}
