//! A scanner on a serial line or a virtual one (USB-CDC): any tty, also a pseudo one.
//!
//! Owns: the line's mode: raw, 8N1, no flow control, at the scanner's speed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::{ByteSource, Chunk, wait_readable};

/// Speeds that termios has a constant for.
const SPEEDS: [(u32, libc::speed_t); 12] = [
    (300, libc::B300),
    (1_200, libc::B1200),
    (2_400, libc::B2400),
    (4_800, libc::B4800),
    (9_600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (921_600, libc::B921600),
];

pub struct Serial(File);

impl Serial {
    pub fn open(path: &str, baud: u32) -> io::Result<Self> {
        let speed = SPEEDS.iter().find(|(b, _)| *b == baud).map(|(_, s)| *s);
        let speed = speed.ok_or_else(|| {
            let list: Vec<String> = SPEEDS.iter().map(|(b, _)| b.to_string()).collect();
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{baud} baud is not one of {}", list.join(", ")),
            )
        })?;
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        make_raw(&file, speed)?;
        Ok(Self(file))
    }
}

#[allow(unsafe_code)]
fn make_raw(file: &File, speed: libc::speed_t) -> io::Result<()> {
    let check = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: a zeroed `termios` is valid and is filled before it is read; the descriptor is open
    // throughout; every pointer is to the local.
    unsafe {
        let mut mode: libc::termios = std::mem::zeroed();
        check(libc::tcgetattr(file.as_raw_fd(), &raw mut mode))?;
        libc::cfmakeraw(&raw mut mode);
        mode.c_cflag |= libc::CLOCAL | libc::CREAD;
        mode.c_cflag &= !(libc::CSTOPB | libc::CRTSCTS);
        // On Linux the constants of speeds are bits of the control flags.
        mode.c_cflag = (mode.c_cflag & !libc::CBAUD) | speed;
        (mode.c_ispeed, mode.c_ospeed) = (speed, speed);
        check(libc::tcsetattr(file.as_raw_fd(), libc::TCSANOW, &raw const mode))?;
        // What was sent before anybody listened may begin in the middle of a code.
        check(libc::tcflush(file.as_raw_fd(), libc::TCIFLUSH))
    }
}

impl ByteSource for Serial {
    fn read(&mut self, into: &mut [u8]) -> io::Result<Chunk> {
        if !wait_readable(self.0.as_raw_fd(), 100)? {
            return Ok(Chunk::Quiet);
        }
        match self.0.read(into) {
            Ok(0) => Ok(Chunk::Gone),
            Ok(count) => Ok(Chunk::Bytes(count)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Chunk::Quiet)
            }
            Err(e) => Err(e),
        }
    }
}
