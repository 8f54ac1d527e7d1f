//! One file per command: its arguments, what it does, what it prints.

pub mod check;
pub mod demo;
pub mod evidence;
pub mod explain;
pub mod log_server;
pub mod record;
pub mod replay;
pub mod run;
pub mod sim;
pub mod tail;
pub mod test;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use weir_contract::{Code, Error, Place, Result};

/// Refuses a program that runs already with a data folder, before its logs are touched. The run itself
/// holds the lock later; this only gives the better error.
pub fn refuse_second(data: &Path, program: &str) -> Result<()> {
    let path = data.join(format!("{program}.lock"));
    let place = Place::Path(path.display().to_string());
    match File::options().write(true).open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(Code::Io, e.to_string()).at(place)),
        Ok(file) => file.try_lock().map_err(|_| {
            Error::new(Code::SecondProcess, format!("program `{program}` runs already with this data folder"))
                .at(place)
        }),
    }
}

/// Prints a line to standard output. False where the reader has gone: the command ends quietly.
pub fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").is_ok()
}
