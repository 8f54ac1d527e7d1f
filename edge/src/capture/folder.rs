//! JPEG files of a folder, in the order of their names, again and again: a recorded camera.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir_contract::{Code, Error, Place, Result};

use super::FrameSource;

pub struct Folder {
    files: Vec<PathBuf>,
    at: usize,
    open: Option<io::Take<File>>,
    every: Duration,
    bytes_max: u64,
    stop: Arc<AtomicBool>,
    killed: Arc<AtomicBool>,
}

impl Folder {
    pub fn open(path: &str, fps: f64, bytes_max: usize, stop: Arc<AtomicBool>) -> Result<Self> {
        let place = || Place::Path(path.to_owned());
        let entries =
            std::fs::read_dir(path).map_err(|e| Error::new(Code::BadFile, e.to_string()).at(place()))?;
        let is_jpeg = |p: &PathBuf| {
            p.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"))
        };
        let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_jpeg).collect();
        files.sort();
        if files.is_empty() {
            return Err(Error::new(Code::BadFile, "no .jpg file is in this folder").at(place()));
        }
        let every = Duration::from_secs_f64(1.0 / fps);
        let killed = Arc::new(AtomicBool::new(false));
        Ok(Self { files, at: 0, open: None, every, bytes_max: bytes_max as u64, stop, killed })
    }
}

impl FrameSource for Folder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let count = file.read(into)?;
                if count > 0 {
                    return Ok(count);
                }
                self.open = None;
                let mut left = self.every;
                while !left.is_zero() {
                    if self.stop.load(Ordering::Relaxed) || self.killed.load(Ordering::Relaxed) {
                        return Ok(0);
                    }
                    let step = left.min(Duration::from_millis(20));
                    thread::sleep(step);
                    left -= step;
                }
            }
            let path = &self.files[self.at % self.files.len()];
            self.at += 1;
            // One byte more than fits shows the splitter that it does not.
            self.open = Some(File::open(path)?.take(self.bytes_max + 1));
        }
    }

    fn killer(&self) -> Box<dyn FnMut() + Send> {
        let killed = self.killed.clone();
        Box::new(move || killed.store(true, Ordering::Relaxed))
    }
}
