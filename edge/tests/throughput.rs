//! Scans through the whole loop into a spool on disk and out again: small in every test run, large on demand.
//!
//! `WEIR_EDGE_SCANS=600000 cargo test -p weir-edge --test throughput -- --nocapture`, built with
//! `CARGO_PROFILE_QUICK_OPT_LEVEL=3`; `make bench` does, on one core. The answer is checked before the time
//! is believed: every scan arrives once, in order, after it was durable.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use weir_contract::{Clock, WallClock};
use weir_edge::config::Config;
use weir_edge::publish::{Outcome, Sender, Sent, Window};
use weir_edge::record::Outgoing;
use weir_edge::run::Edge;
use weir_edge::scan::ScanEvent;
use weir_edge::time::{AlwaysSynced, DeviceClock};
use weir_segments::RealDisk;

/// A log that takes everything at its next poll, and reads what it got.
#[derive(Default)]
struct Taken {
    scans: u64,
    bytes: u64,
    waiting: Vec<i64>,
}

#[derive(Clone, Default)]
struct Taker(Rc<RefCell<Taken>>);

impl Sender for Taker {
    fn send(&mut self, record: Outgoing) -> Sent {
        let mut taken = self.0.borrow_mut();
        let text = std::str::from_utf8(&record.value).unwrap();
        if let Some((_, rest)) = text.split_once("\"barcode\":\"") {
            let number: u64 = rest[..13].parse().unwrap();
            assert_eq!(number, 4_000_000_000_000 + taken.scans, "in order, each once");
            taken.scans += 1;
        }
        taken.bytes += record.value.len() as u64;
        taken.waiting.push(record.offset);
        Sent::Taken
    }

    fn heartbeat(&mut self, _key: &[u8], _time_us: i64) -> bool {
        true
    }

    fn idle(&self) -> bool {
        self.0.borrow().waiting.is_empty()
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        self.0.borrow_mut().waiting.drain(..).map(Outcome::Acked).collect()
    }
}

fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// User and system time of the process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn scans_through_the_agent() {
    let wanted: u64 = std::env::var("WEIR_EDGE_SCANS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "device = {{ id = \"bench\", warehouse = \"W1\", station = \"W1-P1\", data = \"{}\" }}\n\
         publish = {{ to = \"spool\" }}\n[[scanner]]\nkind = \"stdin\"\n",
        folder.path().display()
    );
    let config = Config::parse("edge.toml", &text).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let device = DeviceClock::of_machine(clock.clone(), Arc::new(AlwaysSynced(true)));
    let window = Window { records: 5_000, bytes: 4 << 20 };
    let takers: Vec<Taker> = (0..4).map(|_| Taker::default()).collect();
    let senders = takers.iter().map(|t| (Box::new(t.clone()) as Box<dyn Sender>, window)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let mut edge =
        Edge::new(config, Arc::new(RealDisk), clock.clone(), device.clone(), senders, None, stop).unwrap();
    let inbox = edge.inbox();
    let (start, cpu_start) = (clock.monotonic(), cpu());
    let feeder = std::thread::spawn(move || {
        for number in 0..wanted {
            let code = (4_000_000_000_000 + number).to_string();
            inbox.send(ScanEvent::Code { scanner: 0, code, time: device.now() }).unwrap();
        }
    });
    while takers[0].0.borrow().scans < wanted {
        edge.step().unwrap();
        if edge.inbox().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let (wall, cpu) = ((clock.monotonic() - start).as_secs_f64(), cpu() - cpu_start);
    feeder.join().unwrap();
    edge.finish().unwrap();
    assert_eq!(edge.spool().records(0), 0);
    assert_eq!(edge.spool().gone(), 0);
    let bytes = takers[0].0.borrow().bytes;
    println!("edge_throughput scans={wanted} bytes_out={bytes}");
    println!("  answer  every scan once, in order, durable before it was sent");
    println!(
        "  time    {wall:.2} s, {cpu:.2} s of one core     {:.0} scans/s, {:.0} scans a core-second",
        wanted as f64 / wall,
        wanted as f64 / cpu.max(0.01)
    );
    println!("  memory  {} kB resident, {} kB at most", kilobytes("VmRSS:"), kilobytes("VmHWM:"));
    println!(
        "  in it   decision, ids, JSON, group sync each 50 ms or 1 MiB to a real disk, reading back, stamping"
    );
    println!("  not     the scanner's line, network, Kafka");
    assert!(kilobytes("VmHWM:") < 64 << 10, "{} kB", kilobytes("VmHWM:"));
}
