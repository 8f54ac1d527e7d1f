//! ONNX Runtime, loaded from a file that the operator named.
//!
//! In:   an absolute path; bytes of a model.
//! Out:  `Runtime`, which lives as long as the process needs it; an `Engine` for each model.
//! Owns: how the library gets in: an absolute path, never a name that a search path could answer; no
//!       telemetry; checked to be a whole ELF file of this machine, since the loader of a cut one ends
//!       in a bus error and not in a message.
//!
//! Needs 1.17 or newer (`ort` without its default features); 1.31.1 is what `make onnxruntime` fetches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{RunOptions, Session};
use ort::value::{TensorElementType, TensorRef, ValueType};
use weir_contract::{Code, Error, Result};

use super::at;
use super::engine::{Engine, Facts, Given, INPUT, bad};
use crate::stop::Stop;

/// What `scripts/onnxruntime.sh` fetches.
pub const ORT_VERSION: &str = "1.31.1";

/// The loaded library. One a process; clones are the same.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    version: Arc<str>,
}

fn refused(path: &Path, what: impl Into<String>) -> Error {
    Error::new(Code::NoRuntime, what).at(at(path)).expected("libonnxruntime.so, 1.17 or newer")
}

/// A 64-bit little-endian ELF library for this processor, all of whose parts are in the file.
fn check_elf(bytes: &[u8]) -> Result<(), &'static str> {
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u64_at = |at: usize| {
        let word: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(u64::from_le_bytes(word))
    };
    let short = "the file is cut off";
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("it is no 64-bit ELF library");
    }
    if u16_at(18).ok_or(short)? != machine {
        return Err("it is for another processor");
    }
    let inside =
        |from: u64, length: u64| from.checked_add(length).is_some_and(|end| end <= bytes.len() as u64);
    let table = |offset: usize, size: usize, count: usize| {
        let (from, size, count) = (u64_at(offset)?, u16_at(size)?, u16_at(count)?);
        Some((from, u64::from(size), u64::from(count)))
    };
    let (from, size, count) = table(40, 58, 60).ok_or(short)?;
    if !inside(from, size * count) {
        return Err(short);
    }
    let (from, size, count) = table(32, 54, 56).ok_or(short)?;
    for number in 0..count {
        let part = usize::try_from(from + number * size).map_err(|_| short)?;
        if !inside(u64_at(part + 8).ok_or(short)?, u64_at(part + 32).ok_or(short)?) {
            return Err(short);
        }
    }
    Ok(())
}

#[cfg(unix)]
fn check_rights(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(path).map_err(|e| refused(path, format!("cannot be read: {e}")))?.mode();
    if mode & 0o002 != 0 {
        return Err(refused(path, "everybody may write to it").act("operator: chmod o-w"));
    }
    Ok(())
}

/// The file's own suffix (`libonnxruntime.so.1.31.1`) and the commit of the build; the library's version
/// string is behind an unsafe call.
fn version(path: &Path, build: &str) -> String {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let number = file.split_once(".so.").map_or("of unknown version", |(_, number)| number);
    let commit = build.split("git-commit-id=").nth(1).and_then(|c| c.split(',').next());
    match commit {
        Some(commit) => format!("onnxruntime {number} ({commit})"),
        None => format!("onnxruntime {number}"),
    }
}

impl Runtime {
    /// Where the library is: `configured`, else `WEIR_ORT_LIB`, else where `make onnxruntime` puts it.
    ///
    /// # Errors
    /// `W0803` where none of them is there.
    pub fn locate(configured: Option<&Path>) -> Result<PathBuf> {
        let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(path) = configured.map(Path::to_path_buf).or_else(|| named("WEIR_ORT_LIB")) {
            return Ok(path);
        }
        let cache = named("WEIR_CACHE").or_else(|| Some(named("HOME")?.join(".cache/weir")));
        let path = cache.map(|c| c.join("onnxruntime").join(ORT_VERSION).join("libonnxruntime.so"));
        path.filter(|p| p.is_file()).ok_or_else(|| {
            Error::new(Code::NoRuntime, "no ONNX Runtime was named, and none was fetched")
                .expected("WEIR_ORT_LIB, an absolute path of libonnxruntime.so")
        })
    }

    /// Loads the library. Once a process: clone what this gives.
    ///
    /// # Errors
    /// `W0803` with the reason: not absolute, missing, cut off, another processor, too old, no ONNX Runtime.
    pub fn load(path: &Path) -> Result<Runtime> {
        if !path.is_absolute() {
            return Err(refused(path, "the path of the library is not absolute"));
        }
        let path = path.canonicalize().map_err(|e| refused(path, format!("cannot be read: {e}")))?;
        #[cfg(unix)]
        check_rights(&path)?;
        let bytes = std::fs::read(&path).map_err(|e| refused(&path, format!("cannot be read: {e}")))?;
        if cfg!(target_os = "linux") {
            check_elf(&bytes).map_err(|what| refused(&path, what))?;
        }
        drop(bytes);
        let builder = ort::init_from(&path).map_err(|e| refused(&path, e.to_string()))?;
        let environment = builder.with_telemetry(false).build().map_err(|e| refused(&path, e.to_string()))?;
        Ok(Runtime { environment, version: version(&path, ort::info()).into() })
    }

    pub fn version(&self) -> &str {
        &self.version
    }
}

struct OrtEngine {
    session: Session,
}

fn unusable(e: impl std::fmt::Display) -> Error {
    // The message quotes names out of the file.
    let text: String = e.to_string().chars().filter(|c| !c.is_control()).take(400).collect();
    bad(format!("ONNX Runtime does not take it: {text}"), "a whole ONNX file")
}

fn session(runtime: &Runtime, bytes: &[u8], threads: usize) -> Result<Session, ort::Error> {
    Session::builder(&runtime.environment)?
        .with_intra_threads(threads.max(1))?
        // `Level3` is refused by 1.20.
        .with_optimization_level(GraphOptimizationLevel::All)?
        // A thread that waits for the next frame should not burn a core.
        .with_intra_op_spinning(false)?
        .commit_from_memory(bytes)
}

pub fn load(runtime: &Runtime, bytes: &[u8], threads: usize) -> Result<(Box<dyn Engine>, Facts)> {
    let session = session(runtime, bytes, threads).map_err(unusable)?;
    let [input] = session.inputs() else {
        return Err(bad(format!("it has {} inputs", session.inputs().len()), INPUT));
    };
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(bad("its input is no tensor", INPUT));
    };
    let shape: Vec<Option<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let mut facts = Facts::of_input(&shape, *ty == TensorElementType::Float32)?;
    let [output] = session.outputs() else {
        let names: Vec<&str> = session.outputs().iter().map(|o| o.name()).collect();
        return Err(bad(format!("it has {} outputs: {}", names.len(), names.join(", ")), "one output"));
    };
    if !matches!(output.dtype(), ValueType::Tensor { ty: TensorElementType::Float32, .. }) {
        return Err(bad("its output is not float32", "one output of float32"));
    }
    let metadata = session.metadata().map_err(unusable)?;
    for key in metadata.custom_keys().map_err(unusable)? {
        if let Some(value) = metadata.custom(&key) {
            facts.metadata.insert(key, value);
        }
    }
    drop(metadata);
    facts.engine = runtime.version().to_owned();
    Ok((Box::new(OrtEngine { session }), facts))
}

impl Engine for OrtEngine {
    fn run(&mut self, shape: [usize; 4], data: &[f32], stop: &Stop) -> Result<Given> {
        let failed = |e: ort::Error| match stop.check("the model ran") {
            Ok(()) => Error::new(Code::Inference, format!("ONNX Runtime failed: {e}")),
            Err(stopped) => stopped,
        };
        let tensor = TensorRef::from_array_view((shape, data)).map_err(failed)?;
        let options = Arc::new(RunOptions::new().map_err(failed)?);
        let flag = Arc::clone(&options);
        let session = &mut self.session;
        let hook = move || {
            // It can only fail where the options are none, and then the run ends by itself.
            let _ = flag.terminate();
        };
        let outputs = stop
            .with_hook(hook, || session.run_with_options(ort::inputs![tensor], &*options))
            .map_err(failed)?;
        let value = outputs.values().next();
        let value = value.ok_or_else(|| Error::new(Code::Inference, "ONNX Runtime gave no output"))?;
        let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
        let shape = shape.iter().map(|d| usize::try_from(*d).unwrap_or_default()).collect();
        Ok(Given { shape, data: data.to_vec() })
    }
}
