//! What this process has used: wall and CPU seconds, peak memory, as the kernel counts them.

use std::time::Duration;

use serde_json::{Value, json};
use weir_contract::{Clock, WallClock};

/// `sysconf(_SC_CLK_TCK)`: Linux gives user space 100 a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of user and system time of all threads; none where there is no `/proc`.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name stands in parentheses and may hold blanks; fields 14 and 15 count from it.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// Largest resident set so far, in bytes.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A stretch of work that is measured.
#[derive(Debug)]
pub struct Usage {
    wall: Duration,
    cpu: Option<f64>,
}

impl Usage {
    pub fn start() -> Self {
        Self { wall: WallClock.monotonic(), cpu: cpu_seconds() }
    }

    pub fn wall_seconds(&self) -> f64 {
        WallClock.monotonic().saturating_sub(self.wall).as_secs_f64()
    }

    /// `wall_s`, `cpu_s` (since the start), `peak_bytes` (of the process); null where unknown.
    pub fn to_json(&self) -> Value {
        let cpu = self.cpu.zip(cpu_seconds()).map(|(from, to)| rounded(to - from));
        json!({"wall_s": rounded(self.wall_seconds()), "cpu_s": cpu, "peak_bytes": peak_bytes()})
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let usage = Usage::start();
        let before = cpu_seconds().unwrap();
        let mut sum = 0u64;
        // Ticks are 10 ms: this goes on until one was counted.
        while cpu_seconds().unwrap() <= before && usage.wall_seconds() < 20.0 {
            sum = (0..1_000_000u64).fold(sum, |a, n| a.wrapping_mul(31).wrapping_add(n));
        }
        assert!(cpu_seconds().unwrap() > before, "{sum}");
        assert!(peak_bytes().unwrap() > 100_000);
        assert!(usage.to_json()["cpu_s"].as_f64().unwrap() > 0.0);
    }
}
