//! The repository's files as the tidy test sees them.
//!
//! Out:  every `.rs` file with its text, and with the lines of code that are no test and no comment.
//! Owns: what counts as a test: a folder `tests`, and what stands behind `#[cfg(test)]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
    pub test: bool,
}

impl Source {
    /// Line numbers (from 1) and lines of code: no comments, nothing from the first inline test module on.
    pub fn code(&self) -> Vec<(usize, &str)> {
        let mut code = Vec::new();
        let mut marked = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            let bare = line.trim_start();
            if marked && bare.starts_with("mod ") && bare.ends_with('{') {
                return code;
            }
            marked = bare == "#[cfg(test)]";
            if !bare.starts_with("//") {
                code.push((number, line));
            }
        }
        code
    }

    pub fn member(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Of a member's own code: no test, no bench.
    pub fn ships(&self) -> bool {
        !self.test && self.path.contains("/src/") && self.member() != "benches"
    }
}

pub struct Workspace {
    pub root: PathBuf,
    pub sources: Vec<Source>,
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Files that a parent declares behind `#[cfg(test)]`, with the folders of their own modules.
fn behind_cfg_test(path: &str, text: &str) -> Vec<String> {
    let folder = match path.strip_suffix(".rs").unwrap_or(path) {
        stem if stem.ends_with("/mod") || stem.ends_with("/lib") || stem.ends_with("/main") => {
            stem.rsplit_once('/').map_or("", |(folder, _)| folder)
        }
        stem => stem,
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
        let declared = pair[1].trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        if let Some(name) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            found.push(format!("{folder}/{name}"));
        }
    }
    found
}

impl Workspace {
    pub fn load() -> Workspace {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
        let mut files = Vec::new();
        walk(&root, &mut files);
        let mut sources: Vec<Source> = files
            .into_iter()
            .map(|file| {
                let path = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                Source { test: false, text: std::fs::read_to_string(&file).unwrap(), path }
            })
            .collect();
        let hidden: BTreeSet<String> =
            sources.iter().flat_map(|s| behind_cfg_test(&s.path, &s.text)).collect();
        for source in &mut sources {
            let path = source.path.clone();
            let inside =
                |module: &String| path == format!("{module}.rs") || path.starts_with(&format!("{module}/"));
            source.test = path.contains("/tests/") || hidden.iter().any(inside);
        }
        assert!(sources.len() > 50, "the repository's files were not found");
        Workspace { root, sources }
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Places where one of `words` stands in code.
    pub fn places<'a>(
        &'a self,
        keep: impl Fn(&Source) -> bool,
        words: &[&str],
    ) -> Vec<(&'a str, usize, &'a str)> {
        let mut found = Vec::new();
        for source in self.sources.iter().filter(|s| keep(s)) {
            for (number, line) in source.code() {
                if words.iter().any(|word| line.contains(word)) {
                    found.push((source.path.as_str(), number, line.trim()));
                }
            }
        }
        found
    }

    /// Folders with a `Cargo.toml`, and its text.
    pub fn manifests(&self) -> Vec<(String, String)> {
        let root = self.read("Cargo.toml");
        let members = root.lines().find(|l| l.starts_with("members")).expect("a list of members");
        let names: Vec<String> = members.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(names.contains(&"contract".to_owned()), "{names:?}");
        names.into_iter().map(|name| (name.clone(), self.read(&format!("{name}/Cargo.toml")))).collect()
    }
}

/// Names in the sections `[dependencies]`, `[dev-dependencies]` and `[build-dependencies]` of a manifest.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            found.push(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    found
}
