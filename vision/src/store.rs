//! Frames that are too large for a record, by what they are: a folder named by content.
//!
//! In:   bytes, whole (`put`) or as they come (`receive`); the uri that a record carries (`get`).
//! Out:  the uri, `sha256:` and 64 hex digits; the same bytes.
//! Owns: the folder's form: `ab/abcdef…`, a file for each frame; `.aside`, what is being written. Not how long
//!       frames are kept there.
//!
//! F1  What `get` gives is what the uri names: bytes that hash to another sum are refused.
//! F2  A file appears whole or not at all: it is written aside, synced and renamed. What `put` and `keep` returned
//!     for is durable, whoever wrote it.
//! F3  A uri cannot name a path: digits only.
//! F4  A file is as old as the last time that its frame came: who deletes by age takes none of a younger record.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use weir_contract::{Clock, Code, Error, Result, WallClock};

const SCHEME: &str = "sha256:";
/// Folder of what is being written; what a kill left in it is swept.
const ASIDE: &str = ".aside";

/// A folder of frames. Any number of readers and writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// The uri of the frame with this sum.
pub fn uri_of(sum: &str) -> String {
    format!("{SCHEME}{sum}")
}

/// The 64 digits of a uri; none where it is no uri of a frame.
pub fn sum_of(uri: &str) -> Option<&str> {
    uri.strip_prefix(SCHEME).filter(|sum| is_sum(sum))
}

/// 64 hex digits, small letters.
pub fn is_sum(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::of_io(error, path)
}

impl Store {
    pub fn new(root: impl Into<PathBuf>) -> Store {
        Store { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, sum: &str) -> PathBuf {
        self.root.join(&sum[..2]).join(sum)
    }

    /// Keeps a frame and gives its uri. One that is there already is not written again, but counts as new by age.
    ///
    /// # Errors
    /// `W0501`, `W0505` where the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<String> {
        let sum = hash(bytes);
        let uri = uri_of(&sum);
        let mut arriving = self.arriving(sum, bytes.len() as u64, None)?;
        arriving.take(bytes)?;
        arriving.keep().map(|_new| uri)
    }

    /// Begins to take a frame of `length` bytes as they come.
    ///
    /// # Errors
    /// `W0811` for a sum that is none; `W0501`, `W0505` where the disk refuses.
    pub fn receive(&self, sum: &str, length: u64) -> Result<Arriving> {
        if !is_sum(sum) {
            return Err(Error::new(Code::NoFrame, "this is no name of a frame")
                .expected("64 hex digits in small letters: the sha256 of its bytes"));
        }
        self.arriving(sum.to_owned(), length, Some(Sha256::new()))
    }

    fn arriving(&self, sum: String, length: u64, hash: Option<Sha256>) -> Result<Arriving> {
        let path = self.path(&sum);
        let there = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == length);
        let aside = self.root.join(ASIDE);
        // Others read the store: the file gets what the process gives to any file, not to itself alone.
        let open = || {
            fs::create_dir_all(&aside)?;
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(&aside)
        };
        let file = if there { None } else { Some(open().map_err(|e| failed(&aside, &e))?) };
        Ok(Arriving { root: self.root.clone(), path, sum, length, taken: 0, hash, file })
    }

    /// Removes what writers left aside that were killed before `before_us`; frames stay.
    pub fn sweep(&self, before_us: i64) {
        let before = UNIX_EPOCH + Duration::from_micros(before_us.max(0).cast_unsigned());
        let Ok(entries) = fs::read_dir(self.root.join(ASIDE)) else { return };
        for entry in entries.flatten() {
            if entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at < before) {
                let _the_next_sweep_tries_again = fs::remove_file(entry.path());
            }
        }
    }

    /// The frame of a uri, at most `bytes_max` of it.
    ///
    /// # Errors
    /// Of the frame: `W0811` (no uri of a frame, or nothing there), `W0812` (other bytes), `W0802` (too large).
    /// Of the store: `W0501` where the folder cannot be read at all.
    pub fn get(&self, uri: &str, bytes_max: usize) -> Result<Vec<u8>> {
        let shown: String = uri.chars().filter(|c| !c.is_control()).take(100).collect();
        let Some(sum) = sum_of(uri) else {
            return Err(Error::new(Code::NoFrame, format!("`{shown}` is no uri of a stored frame"))
                .expected("sha256: and 64 hex digits"));
        };
        let path = self.path(sum);
        let mut bytes = Vec::new();
        let limit = (bytes_max as u64).saturating_add(1);
        let read = File::open(&path).and_then(|f| f.take(limit).read_to_end(&mut bytes));
        if let Err(error) = read {
            let gone = error.kind() == io::ErrorKind::NotFound;
            // A store that is not there at all is nobody's missing frame.
            return Err(match gone && self.root.is_dir() {
                true => Error::new(Code::NoFrame, format!("{shown} is not in the store")),
                false => failed(if gone { &self.root } else { &path }, &error),
            });
        }
        if bytes.len() > bytes_max {
            let what = format!("too_many_bytes: {shown} has more than {bytes_max} bytes");
            return Err(Error::new(Code::ImageTooLarge, what));
        }
        let found = hash(&bytes);
        if found != sum {
            let what = format!("{shown} holds bytes whose sha256 is {found}");
            return Err(Error::new(Code::FrameChanged, what));
        }
        Ok(bytes)
    }
}

/// A frame on its way into the store; what is dropped leaves nothing behind.
#[derive(Debug)]
pub struct Arriving {
    root: PathBuf,
    path: PathBuf,
    sum: String,
    length: u64,
    taken: u64,
    /// None where the sum was made of the same bytes.
    hash: Option<Sha256>,
    /// None where the frame is there already.
    file: Option<NamedTempFile>,
}

impl Arriving {
    /// The next bytes.
    ///
    /// # Errors
    /// `W0501`, `W0505` where the disk refuses.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.taken += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|e| failed(&self.path, &e)),
            None => Ok(()),
        }
    }

    /// Makes the frame durable under its name; true where it was not there before.
    ///
    /// # Errors
    /// `W0812` where the bytes are not those that the sum names; `W0501`, `W0505` where the disk refuses.
    pub fn keep(self) -> Result<bool> {
        let found = self.hash.map(|hash| hex(hash.finalize()));
        if self.taken != self.length || found.as_ref().is_some_and(|found| *found != self.sum) {
            let found = found.unwrap_or_default();
            let what = format!("{} bytes came, whose sha256 is {found}, not {}", self.taken, self.sum);
            return Err(Error::new(Code::FrameChanged, what));
        }
        let folder = self.path.parent().unwrap_or(&self.root);
        let is_new = self.file.is_some();
        let write = || {
            match self.file {
                Some(file) => {
                    fs::create_dir_all(folder)?;
                    file.as_file().sync_all()?;
                    file.persist(&self.path).map_err(|e| e.error)?;
                }
                None => renew(&self.path)?,
            }
            // Whoever wrote it may have been killed before: the names are durable from here on.
            sync_folder(folder)?;
            sync_folder(&self.root)?;
            self.root.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
        };
        write().map(|()| is_new).map_err(|e| failed(&self.path, &e))
    }
}

/// Who deletes frames by age goes by their last record, not by their first. One that went meanwhile is an error.
fn renew(path: &Path) -> io::Result<()> {
    let now = UNIX_EPOCH + Duration::from_micros(WallClock.now_us().max(0).cast_unsigned());
    match File::open(path).and_then(|file| file.set_modified(now)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
        // Another owner's is as old as he says.
        _ => Ok(()),
    }
}

/// Some mounts know no such thing, or give no right to the folder above: names there are as durable as they make them.
fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|f| f.sync_all()) {
        Err(e) if matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_had_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("frames"));
        let uri = store.put(b"frame").unwrap();
        assert_eq!(uri, format!("sha256:{}", hash(b"frame")));
        assert_eq!(store.put(b"frame").unwrap(), uri, "once");
        assert_eq!(store.get(&uri, 5).unwrap(), b"frame");
        let code = |uri: &str, max| store.get(uri, max).unwrap_err().code();
        assert_eq!(code(&uri, 4), Code::ImageTooLarge);
        assert_eq!(code(&format!("sha256:{}", hash(b"other")), 9), Code::NoFrame);
        for odd in ["", "sha256:", "sha256:../../etc/passwd", "/etc/passwd", &uri.to_uppercase(), &uri[..70]]
        {
            assert_eq!(code(odd, 9), Code::NoFrame, "{odd}");
        }
        let path = store.path(&hash(b"frame"));
        for altered in [&b"Frame"[..], b"fram", b"frame1", b""] {
            fs::write(&path, altered).unwrap();
            assert_eq!(code(&uri, 9), Code::FrameChanged, "{altered:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(code(&uri, 9), Code::NoFrame);
        fs::create_dir(&path).unwrap();
        assert_eq!(code(&uri, 9), Code::Io, "not the frame's fault");
        let nowhere = Store::new(folder.path().join("nowhere"));
        assert_eq!(nowhere.get(&uri, 9).unwrap_err().code(), Code::Io);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing aside is left");
    }

    fn aside(store: &Store) -> usize {
        fs::read_dir(store.root().join(ASIDE)).unwrap().count()
    }

    #[test]
    fn bytes_that_come_in_parts_are_kept_only_as_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("frames"));
        let sum = hash(b"a frame");
        let code = |e: Error| e.code();
        for odd in ["", "../../etc/passwd", &sum[..63], &sum.to_uppercase(), &uri_of(&sum)] {
            assert_eq!(store.receive(odd, 7).map(|_| ()).map_err(code), Err(Code::NoFrame), "{odd}");
        }
        // Other bytes, too few, too many; one that its sender left.
        for parts in [&[&b"a fr"[..], b"ome"][..], &[b"a fram"], &[b"a frame", b"s"]] {
            let mut arriving = store.receive(&sum, 7).unwrap();
            parts.iter().for_each(|p| arriving.take(p).unwrap());
            assert_eq!(arriving.keep().map_err(code), Err(Code::FrameChanged));
        }
        drop(store.receive(&sum, 7).unwrap());
        assert_eq!((store.get(&uri_of(&sum), 9).map_err(code), aside(&store)), (Err(Code::NoFrame), 0));

        // Two at once, and one behind them.
        let (mut first, mut second) = (store.receive(&sum, 7).unwrap(), store.receive(&sum, 7).unwrap());
        first.take(b"a fr").unwrap();
        second.take(b"a frame").unwrap();
        assert!(second.keep().unwrap());
        first.take(b"ame").unwrap();
        assert!(first.keep().unwrap(), "it was not there when it began");
        let mut third = store.receive(&sum, 7).unwrap();
        third.take(b"a frame").unwrap();
        assert!(!third.keep().unwrap());
        let mut lies = store.receive(&sum, 7).unwrap();
        lies.take(b"another").unwrap();
        assert_eq!(lies.keep().map_err(code), Err(Code::FrameChanged), "there or not");
        assert_eq!((store.get(&uri_of(&sum), 9).unwrap(), aside(&store)), (b"a frame".to_vec(), 0));
    }

    #[test]
    fn a_frame_that_comes_again_is_young_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        store.put(b"frame").unwrap();
        let path = store.path(&hash(b"frame"));
        let old = UNIX_EPOCH + Duration::from_secs(1_000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        store.put(b"frame").unwrap();
        assert!(fs::metadata(&path).unwrap().modified().unwrap() > old + Duration::from_secs(1_000_000));
        // Deleted by age while it came: nothing says that it is there, and the next try writes it.
        let mut arriving = store.receive(&hash(b"frame"), 5).unwrap();
        arriving.take(b"frame").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(arriving.keep().map_err(|e| e.code()), Err(Code::Io));
        let uri = store.put(b"frame").unwrap();
        assert_eq!(store.get(&uri, 9).unwrap(), b"frame");
    }

    #[test]
    fn what_a_kill_left_is_swept_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let uri = store.put(b"frame").unwrap();
        store.sweep(i64::MAX);
        let mut arriving = store.receive(&hash(b"later"), 5).unwrap();
        arriving.take(b"later").unwrap();
        let left = store.receive(&hash(b"killed"), 6).unwrap().file.unwrap().keep().unwrap().1;
        let yesterday = UNIX_EPOCH + Duration::from_secs(1_000);
        File::options().write(true).open(&left).unwrap().set_modified(yesterday).unwrap();
        store.sweep(2_000_000_000);
        assert_eq!(aside(&store), 1);
        assert!(arriving.keep().unwrap());
        assert_eq!(store.get(&uri, 9).unwrap(), b"frame");
        let path = store.path(&hash(b"frame"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        assert_eq!(mode, fs::metadata(plain).unwrap().permissions().mode(), "as readable as any file");
    }
}
