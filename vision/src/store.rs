//! Frames that are too large for a record, by what they are: a folder named by content.
//!
//! In:   bytes (`put`), or the uri that a record carries (`get`).
//! Out:  the uri, `sha256:` and 64 hex digits; the same bytes.
//! Owns: the folder's form: `ab/abcdef…`, a file for each frame. Not how long frames are kept there.
//!
//! F1  What `get` gives is what the uri names: bytes that hash to another sum are refused.
//! F2  A file appears whole or not at all: it is written aside, synced and renamed.
//! F3  A uri cannot name a path: digits only.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use weir_contract::{Code, Error, Result};

const SCHEME: &str = "sha256:";

/// A folder of frames. Any number of readers and writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
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

    /// Keeps a frame and gives its uri. One that is there already is not written again.
    ///
    /// # Errors
    /// `W0501`, `W0505` where the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<String> {
        let sum = hash(bytes);
        let path = self.path(&sum);
        if !fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
            let folder = path.parent().unwrap_or(&self.root);
            // Two writers of one frame write the same bytes, each aside by itself.
            let aside = folder.join(format!(".{sum}.{}", std::process::id()));
            let write = || {
                fs::create_dir_all(folder)?;
                let mut file = File::create(&aside)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&aside, &path)?;
                File::open(folder)?.sync_all()
            };
            write().map_err(|e| {
                let _ = fs::remove_file(&aside);
                failed(&path, &e)
            })?;
        }
        Ok(format!("{SCHEME}{sum}"))
    }

    /// The frame of a uri, at most `bytes_max` of it.
    ///
    /// # Errors
    /// Of the frame: `W0811` (no uri of a frame, or nothing there), `W0812` (other bytes), `W0802` (too large).
    /// Of the store: `W0501` where the folder cannot be read at all.
    pub fn get(&self, uri: &str, bytes_max: usize) -> Result<Vec<u8>> {
        let shown: String = uri.chars().filter(|c| !c.is_control()).take(100).collect();
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let sum = uri.strip_prefix(SCHEME).filter(|sum| sum.len() == 64 && sum.bytes().all(digit));
        let Some(sum) = sum else {
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
}
