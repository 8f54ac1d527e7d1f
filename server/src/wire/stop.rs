//! Signals: the first SIGTERM or SIGINT asks a run to end cleanly, the second ends the process at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weir_contract::{Code, Error, Result};
use weir_engine::run::Stop;

/// Exit code of a process that a second signal ended; shells use it for SIGINT.
const KILLED: i32 = 130;

/// Listens from now on, in a thread of its own, until the process ends.
pub fn on_signal(stop: &Stop) -> Result<()> {
    let refused = |e: std::io::Error| Error::new(Code::Io, format!("cannot listen for signals: {e}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if stop.stopping() {
                    // Like kill -9: no commit, no checkpoint; the next start goes on from the last one.
                    std::process::exit(KILLED);
                }
                stop.stop();
            }
        })
        .map_err(refused)?;
    Ok(())
}
