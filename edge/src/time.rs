//! Time on a device that may have no clock of its own.
//!
//! In:   the handed-down clock, the machine's uptime and boot id, and whether its clock is synced.
//! Out:  [`DeviceTime`] for what is seen now, and [`Stamps`]: per boot, what the clock turned out to be.
//! Owns: which event time a record gets.
//!
//! T1  A record that was seen while the clock was synced keeps the time that the clock said.
//! T2  One seen before gets `time since boot + offset` once the offset of its boot is known; the offset is
//!     stored in the spool before the first such record is sent, and never changes after that.
//! T3  Where the offset stays unknown (another boot, or nobody synced the clock within `hold`), it keeps
//!     the clock's guess and says `clock_synced = false`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_contract::Clock;

/// Offsets kept: boots whose records may still be in the spool. At the cap the oldest goes.
const STAMPS_MAX: usize = 32;

/// When something was seen, by all clocks of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTime {
    /// The kernel's boot id.
    pub boot: [u8; 16],
    /// Microseconds since the Unix epoch, as the clock said.
    pub wall_us: i64,
    /// Microseconds since boot.
    pub boot_us: i64,
    /// Whether the clock was synced then.
    pub synced: bool,
}

/// What the clock of one boot turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub boot: [u8; 16],
    /// Event time is microseconds since boot plus this.
    pub offset_us: i64,
}

/// Offsets by boot, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamps(Vec<Stamp>);

impl Stamps {
    /// Remembers the offset of a boot; the first one stays.
    pub fn add(&mut self, stamp: Stamp) {
        if self.of(&stamp.boot).is_none() {
            self.0.push(stamp);
            let beyond = self.0.len().saturating_sub(STAMPS_MAX);
            self.0.drain(..beyond);
        }
    }

    pub fn of(&self, boot: &[u8; 16]) -> Option<i64> {
        self.0.iter().find(|s| s.boot == *boot).map(|s| s.offset_us)
    }

    /// The event time, and whether it rests on a synced clock.
    pub fn event_time(&self, time: &DeviceTime) -> (i64, bool) {
        match self.of(&time.boot) {
            _ if time.synced => (time.wall_us, true),
            Some(offset) => (time.boot_us.saturating_add(offset), true),
            None => (time.wall_us, false),
        }
    }
}

/// Whether somebody keeps the machine's clock right.
pub trait SyncProbe: Send + Sync {
    fn synced(&self) -> bool;
}

/// Made by systemd-timesyncd at its first sync of a boot.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";

/// What the kernel says: an NTP client that has synced clears `STA_UNSYNC`.
#[derive(Debug, Default, Clone, Copy)]
pub struct KernelSync;

impl SyncProbe for KernelSync {
    #[allow(unsafe_code)]
    fn synced(&self) -> bool {
        // SAFETY: a zeroed `timex` is valid (all integers), `modes` 0 only reads, and the pointer is to
        // a local that outlives the call.
        let state = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            let state = libc::adjtimex(&raw mut timex);
            if timex.status & libc::STA_UNSYNC != 0 { -1 } else { state }
        };
        // A sandbox may forbid the call; systemd's own client leaves a file in this boot.
        (state >= 0 && state != libc::TIME_ERROR) || std::path::Path::new(TIMESYNC).exists()
    }
}

/// A clock that is taken for right: a machine with a battery-backed clock, or a test.
#[derive(Debug, Clone, Copy)]
pub struct AlwaysSynced(pub bool);

impl SyncProbe for AlwaysSynced {
    fn synced(&self) -> bool {
        self.0
    }
}

/// The device's clocks together.
#[derive(Clone)]
pub struct DeviceClock {
    clock: Arc<dyn Clock>,
    sync: Arc<dyn SyncProbe>,
    boot: [u8; 16],
    /// Time since boot where the monotonic clock reads 0.
    boot_zero_us: i64,
}

impl DeviceClock {
    /// `uptime_us` is the machine's time since boot, now.
    pub fn new(clock: Arc<dyn Clock>, sync: Arc<dyn SyncProbe>, boot: [u8; 16], uptime_us: i64) -> Self {
        let boot_zero_us = uptime_us - micros(&*clock);
        Self { clock, sync, boot, boot_zero_us }
    }

    /// This machine's: boot id and uptime as the kernel says (to 10 ms), zeros where it says nothing.
    pub fn of_machine(clock: Arc<dyn Clock>, sync: Arc<dyn SyncProbe>) -> Self {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = text.split(' ').next().and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::new(clock, sync, parse_boot(&boot), (uptime * 1e6) as i64)
    }

    pub fn now(&self) -> DeviceTime {
        DeviceTime {
            boot: self.boot,
            wall_us: self.clock.now_us(),
            boot_us: self.boot_zero_us + micros(&*self.clock),
            synced: self.sync.synced(),
        }
    }
}

fn micros(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.monotonic().as_micros()).unwrap_or(i64::MAX)
}

/// A pause that ends early where the agent stops.
pub fn rest(pause: Duration, stop: &AtomicBool) {
    let mut left = pause;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        let step = left.min(Duration::from_millis(50));
        std::thread::sleep(step);
        left -= step;
    }
}

/// A UUID's 16 bytes; zeros where the text is none.
fn parse_boot(text: &str) -> [u8; 16] {
    let digits: Vec<u8> = text.trim().bytes().filter(|b| *b != b'-').collect();
    let mut boot = [0; 16];
    for (byte, pair) in boot.iter_mut().zip(digits.chunks_exact(2)) {
        let text = std::str::from_utf8(pair).unwrap_or("00");
        *byte = u8::from_str_radix(text, 16).unwrap_or(0);
    }
    boot
}

#[cfg(test)]
mod tests {
    use weir_contract::clock::ManualClock;

    use super::*;

    #[test]
    fn the_first_offset_of_a_boot_stays_and_old_boots_go() {
        let mut stamps = Stamps::default();
        for n in 0..40_u8 {
            stamps.add(Stamp { boot: [n; 16], offset_us: i64::from(n) });
            stamps.add(Stamp { boot: [n; 16], offset_us: -1 });
        }
        assert_eq!(
            (stamps.of(&[7; 16]), stamps.of(&[8; 16]), stamps.of(&[39; 16])),
            (None, Some(8), Some(39))
        );
    }

    #[test]
    fn a_clock_that_jumps_moves_no_time_since_boot() {
        let clock = Arc::new(ManualClock::at(0));
        let device = DeviceClock::new(clock.clone(), Arc::new(AlwaysSynced(false)), [1; 16], 70_000_000);
        clock.set(1_000_000);
        let seen = device.now();
        assert_eq!((seen.boot_us, seen.wall_us, seen.synced), (71_000_000, 1_000_000, false));
    }

    #[test]
    fn the_machine_tells_its_boot() {
        assert_eq!(parse_boot("01020304-0506-0708-090a-0b0c0d0e0fff\n")[15], 0xff);
        assert_eq!(parse_boot(""), [0; 16]);
        let device = DeviceClock::of_machine(Arc::new(weir_contract::WallClock), Arc::new(KernelSync));
        let (a, b) = (device.now(), device.now());
        assert!(a.boot != [0; 16] && b.boot_us >= a.boot_us && a.boot_us > 0);
    }
}
