//! The processes around the engine: the log's door for devices, and an agent for each station.
//!
//! In:   a folder, stations, what each of them plays.
//! Out:  running processes; they end with this struct, and where this process is killed, with it.
//! Owns: their settings and tokens, which live as long as the demo.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};
use weir_contract::{Code, Error, Place, Result};
use weir_sim::shots::Shift;

use super::draw::SCRIPT;

/// Topics that devices write.
pub const TOPICS: [&str; 3] = ["scans", "device_health", "frames"];

/// Beginning of the line with the door's own counts: the demo has its own.
const COUNTS: char = '{';

/// Asked to end when it is dropped.
struct Process {
    child: Child,
    name: String,
}

impl Process {
    #[allow(unsafe_code)]
    fn start(command: &mut Command, name: &str) -> Result<Self> {
        let failed = |e| Error::new(Code::Io, format!("cannot start {name}: {e}"));
        let parent = std::process::id();
        let with_parent = move || {
            // SAFETY: two system calls without memory of ours, allowed between fork and exec.
            let (asked, now) = unsafe {
                (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid().cast_unsigned())
            };
            match (asked, now == parent) {
                (0, true) => Ok(()),
                (0, false) => Err(std::io::Error::other("the demo has ended")),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure is as said there.
        unsafe { command.pre_exec(with_parent) };
        Ok(Self { child: command.stdin(Stdio::null()).spawn().map_err(failed)?, name: name.to_owned() })
    }

    /// None while it runs; an error where it ended badly.
    fn ended(&mut self) -> Result<bool> {
        let failed = |e: std::io::Error| Error::new(Code::Io, format!("{}: {e}", self.name));
        match self.child.try_wait().map_err(failed)? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(Error::new(Code::Internal, format!("{} ended with {status}", self.name))
                .act("operator: its own words are above.")),
        }
    }
}

impl Drop for Process {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // SAFETY: a signal to a child that was not waited for: the number is still its own.
            unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        }
        let _it_was_asked = self.child.wait();
    }
}

/// The binary of the agent: `WEIR_EDGE`, else `weir-edge` beside this one.
pub fn agent() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WEIR_EDGE").filter(|v| !v.is_empty()) {
        return Some(named.into());
    }
    let beside = std::env::current_exe().ok()?.with_file_name("weir-edge");
    beside.exists().then_some(beside)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|e| Error::new(Code::Io, e.to_string()).at(Place::Path(path.display().to_string())))
}

fn token() -> Result<String> {
    weir_segments::chance_id().map_err(|e| Error::new(Code::Io, format!("no chance for a token: {e}")))
}

/// All of them.
pub struct Devices {
    agents: Vec<Process>,
    // After the agents: they send until they end.
    door: Process,
}

impl Devices {
    /// Starts the log server over `log`, then an agent for each shift, which plays the script under
    /// `shots`.
    pub fn start(
        agent: &Path,
        folder: &Path,
        log: &Path,
        shots: &Path,
        partitions: u32,
        shifts: &[Shift],
    ) -> Result<Self> {
        let mut grants = String::new();
        let mut tokens = Vec::new();
        for shift in shifts {
            let token = token()?;
            let digest: String = Sha256::digest(&token).iter().map(|b| format!("{b:02x}")).collect();
            grants.push_str(&format!("{} {digest} {}\n", shift.station.agent, shift.warehouse));
            tokens.push(token);
        }
        let known = folder.join("tokens");
        write(&known, &grants)?;
        let (door, address) = door(&known, log, partitions)?;
        let mut agents = Vec::new();
        for (shift, token) in shifts.iter().zip(tokens) {
            let own = folder.join(&shift.station.id);
            write(&own.join("token"), &token)?;
            let config = own.join("edge.toml");
            write(&config, &settings(shift, &own, &address))?;
            let script = shots.join(&shift.station.id).join(SCRIPT);
            let mut command = Command::new(agent);
            command.arg("--config").arg(&config).arg("play").arg(&script).env("RUST_LOG", "warn");
            agents.push(Process::start(&mut command, &shift.station.agent)?);
        }
        Ok(Self { agents, door })
    }

    /// Whether every agent has sent all it had.
    ///
    /// # Errors
    /// An agent that ended badly, a log server that ended at all: agents would wait for it without end.
    pub fn done(&mut self) -> Result<bool> {
        if self.door.ended()? {
            return Err(Error::new(Code::Internal, format!("{} ended before the agents", self.door.name))
                .act("operator: its own words are above."));
        }
        let mut done = true;
        for agent in &mut self.agents {
            done &= agent.ended()?;
        }
        Ok(done)
    }
}

fn door(tokens: &Path, log: &Path, partitions: u32) -> Result<(Process, String)> {
    let own = std::env::current_exe()
        .map_err(|e| Error::new(Code::Io, format!("where this program is cannot be told: {e}")))?;
    let mut command = Command::new(own);
    command
        .args(["log-server", "--listen", "127.0.0.1:0", "--topics", &TOPICS.join(",")])
        .args(["--partitions", &partitions.to_string(), "--requests-per-s", "100000"])
        .args(["--bytes-per-s", "1000000000"])
        .arg("--tokens")
        .arg(tokens)
        .arg("--log")
        .arg(format!("log:{}", log.display()))
        .stderr(Stdio::piped());
    let mut door = Process::start(&mut command, "weir log-server")?;
    let told = || Error::new(Code::Internal, "weir log-server does not say where it listens");
    let mut lines = BufReader::new(door.child.stderr.take().ok_or_else(told)?);
    let mut line = String::new();
    let read = lines.read_line(&mut line);
    let address = line.split(" at ").nth(1).and_then(|rest| rest.split(": ").next()).map(str::to_owned);
    match (read, address) {
        (Ok(_), Some(address)) => {
            // Whatever it says later is for people, and it must not wait for them.
            std::thread::spawn(move || {
                let lines = lines.lines().map_while(std::result::Result::ok);
                for line in lines.filter(|line| !line.starts_with(COUNTS)) {
                    eprintln!("{line}");
                }
            });
            Ok((door, address))
        }
        _ => Err(Error::new(Code::Internal, format!("weir log-server: {}", line.trim()))),
    }
}

fn settings(shift: &Shift, own: &Path, address: &str) -> String {
    let station = &shift.station;
    format!(
        "[device]\nid = {:?}\nwarehouse = {:?}\nstation = {:?}\ndata = {:?}\n\n\
         [publish]\nto = \"http\"\nurl = 'http://{address}'\ntoken = {:?}\n\n\
         [[scanner]]\nname = {:?}\nkind = \"stdin\"\n\n\
         [[camera]]\nname = {:?}\nkind = \"folder\"\npath = \".\"\ntrigger = \"continuous\"\nrate = 30.0\n",
        station.agent,
        shift.warehouse,
        station.id,
        own.join("data"),
        format!("file:{}", own.join("token").display()),
        station.scanner,
        station.camera,
    )
}
