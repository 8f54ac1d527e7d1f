//! What a device says about itself: columns of `device_health`, and `status.json` for people beside it.
//!
//! In:   counts of the parts, the machine's files under /sys and /proc.
//! Out:  JSON fields. A fact that this machine does not tell is left out: NULL, not 0.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Facts of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    pub temp_c: Option<f64>,
    pub disk_free: Option<u64>,
    pub memory_kb: Option<u64>,
}

impl Machine {
    /// Reads them; `data` is a path on the disk that the spool is on.
    pub fn read(data: &Path) -> Self {
        let zone = Path::new("/sys/class/thermal/thermal_zone0/temp");
        let number = |text: String| text.trim().parse::<f64>().ok();
        let temp_c = std::fs::read_to_string(zone).ok().and_then(number).map(|milli| milli / 1_000.0);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let memory_kb = resident.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse().ok());
        Self { temp_c, disk_free: disk_free(data), memory_kb }
    }
}

/// Bytes that this user may still write.
#[allow(unsafe_code)]
fn disk_free(path: &Path) -> Option<u64> {
    let path = std::ffi::CString::new(path.to_str()?).ok()?;
    // SAFETY: a zeroed `statvfs` is valid (integers only); the path ends with a NUL; both outlive the call.
    let found = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &raw mut found) != 0 {
            return None;
        }
        found
    };
    Some(found.f_bavail * found.f_frsize)
}

/// One record of `device_health`, apart from ids and time.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub kind: &'static str,
    pub machine: Machine,
    pub spool_records: u64,
    pub spool_oldest_s: Option<f64>,
    /// Records given up, ever, over all lanes.
    pub spool_gone: u64,
    pub spool_in_memory: bool,
    pub clock_offset_ms: Option<i64>,
    pub clock_synced: bool,
    pub fps: Option<f64>,
    pub stalls: Option<u64>,
    /// Frames that were looked at and could not be read, and those that nobody had time to look at.
    pub frames_refused: Option<u64>,
    pub frames_unseen: Option<u64>,
    /// Of the detector on the device.
    pub model_sha256: Option<String>,
    pub trouble: Option<String>,
}

impl Health {
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.into(), value);
            }
        };
        put("kind", json!(self.kind));
        put("fw_version", json!(env!("CARGO_PKG_VERSION")));
        put("temp_c", json!(self.machine.temp_c));
        put("disk_free", json!(self.machine.disk_free));
        put("memory_kb", json!(self.machine.memory_kb));
        put("spool_records", json!(self.spool_records));
        put("spool_oldest_s", json!(self.spool_oldest_s));
        put("spool_gone", json!(self.spool_gone));
        if self.spool_in_memory {
            put("spool_in_memory", json!(true));
        }
        put("clock_offset_ms", json!(self.clock_offset_ms));
        put("clock_synced", json!(self.clock_synced));
        put("fps", json!(self.fps));
        put("stalls", json!(self.stalls));
        put("frames_refused", json!(self.frames_refused));
        put("frames_unseen", json!(self.frames_unseen));
        put("model_sha256", json!(self.model_sha256));
        put("trouble", json!(self.trouble));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let fields = Health { kind: "scanner", ..Health::default() }.fields();
        assert_eq!(fields["kind"], "scanner");
        assert_eq!(fields["spool_records"], 0);
        for absent in [
            "temp_c",
            "fps",
            "stalls",
            "frames_refused",
            "model_sha256",
            "clock_offset_ms",
            "trouble",
            "spool_in_memory",
        ] {
            assert!(!fields.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn the_machine_tells_what_it_can() {
        let machine = Machine::read(Path::new("/tmp"));
        assert!(machine.disk_free.is_some_and(|b| b > 0) && machine.memory_kb.is_some_and(|k| k > 100));
        assert_eq!(Machine::read(Path::new("/no/such/place")).disk_free, None);
    }
}
