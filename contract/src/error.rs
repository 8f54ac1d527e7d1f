//! One error form for all of weir: what, where, what was expected, who acts, what still runs.

use std::fmt;
use std::io;
use std::path::Path;

use crate::code::Code;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where an error stands: a place in a script, or a position in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// 1-based line and column of a file.
    Script { file: String, line: u64, column: u64 },
    /// A record of a log.
    Position { topic: String, partition: u32, offset: i64 },
    /// A file or folder.
    Path(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Script { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Position { topic, partition, offset } => write!(f, "{topic}/{partition}/{offset}"),
            Place::Path(path) => f.write_str(path),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    what: String,
    place: Option<Place>,
    expected: Option<String>,
    act: Option<String>,
}

/// An error with a stable code. Cheap to move; the facts are behind one pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

impl Error {
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, what: what.into(), place: None, expected: None, act: None }))
    }

    /// What the file system said of a path: `W0505` where a disk or a quota is full, else `W0501`.
    pub fn of_io(error: &io::Error, path: &Path) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { Code::DiskFull } else { Code::Io };
        Self::new(code, error.to_string()).at(Place::Path(path.display().to_string()))
    }

    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// Sets the place only where none is known yet.
    #[must_use]
    pub fn or_at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// Says who has to do what, where the code's own text is too general.
    #[must_use]
    pub fn act(mut self, act: impl Into<String>) -> Self {
        self.0.act = Some(act.into());
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn what(&self) -> &str {
        &self.0.what
    }

    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    pub fn expectation(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    pub fn actor(&self) -> &str {
        self.0.act.as_deref().unwrap_or_else(|| self.0.code.act())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(place) = &self.0.place {
            write!(f, "  {place}")?;
        }
        write!(f, "\n  {}", self.0.what)?;
        if let Some(expected) = &self.0.expected {
            write!(f, "\n  expected  {expected}")?;
        }
        write!(f, "\n  act       {}", self.actor())
    }
}

impl std::error::Error for Error {}
