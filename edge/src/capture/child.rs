//! A program that writes MJPEG to its standard output: `rpicam-vid`, `ffmpeg`, anything.
//!
//! Owns: the process, in a group of its own, so that what it starts ends with it. What leaves the group may keep
//!       the pipe open: it is not waited for. The last line written to standard error is kept: it says why a
//!       camera did not start.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use weir_contract::{Code, Error, Result};

use super::FrameSource;
use crate::scan::wait_readable;

/// Bytes of standard error that are kept.
const SAID_BYTES: usize = 300;

pub struct Child {
    process: std::process::Child,
    out: ChildStdout,
    said: Arc<Mutex<Vec<u8>>>,
    killed: Arc<AtomicBool>,
    reaped: bool,
}

impl Child {
    pub fn start(command: &[String]) -> Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Error::new(Code::BadOption, "no command"))?;
        let refused = |e: io::Error| Error::new(Code::BadFile, format!("{program}: {e}"));
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(refused)?;
        let out = process.stdout.take().ok_or_else(|| Error::new(Code::Internal, "no pipe"))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut err) = process.stderr.take() {
            let said = said.clone();
            // Read to its end, so that the child never waits for us to listen.
            let _without_it_nothing_is_known =
                thread::Builder::new().name("camera says".into()).spawn(move || {
                    let mut buffer = [0; 1_024];
                    while let Ok(count @ 1..) = err.read(&mut buffer) {
                        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                        said.extend_from_slice(&buffer[..count]);
                        let beyond = said.len().saturating_sub(SAID_BYTES);
                        said.drain(..beyond);
                    }
                });
        }
        Ok(Self { process, out, said, killed: Arc::default(), reaped: false })
    }
}

#[allow(unsafe_code)]
fn kill_group(pid: i32) {
    // SAFETY: a plain system call. The group is the child's own; it is not reaped before `finish`, so its
    // number belongs to nobody else.
    unsafe {
        libc::kill(-pid, libc::SIGKILL);
    }
}

impl FrameSource for Child {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.killed.load(Ordering::Relaxed) {
            if wait_readable(self.out.as_raw_fd(), 100)? {
                return self.out.read(into);
            }
        }
        Ok(0)
    }

    fn killer(&self) -> Box<dyn FnMut() + Send> {
        let (pid, killed) = (self.process.id().cast_signed(), self.killed.clone());
        Box::new(move || {
            killed.store(true, Ordering::Relaxed);
            kill_group(pid);
        })
    }

    fn finish(&mut self) -> Option<String> {
        kill_group(self.process.id().cast_signed());
        let status = self.process.wait();
        self.reaped = true;
        let status = status.ok()?;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said);
        let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        Some(format!("{status} {}", line.trim()).trim().to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.finish();
        }
    }
}
