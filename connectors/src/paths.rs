//! Which paths a program may name.
//!
//! In:   a path as an option says it. Out: the same path without links, inside a granted folder.
//! Owns: the refusal of everything else: `..`, links that lead out, devices, pipes.

use std::path::{Component, Path, PathBuf};

use weir_contract::{Code, Error, Place, Result};

/// Folders that programs may read and write below. Relative paths start at the first.
#[derive(Debug, Clone)]
pub struct Roots(Vec<PathBuf>);

impl Roots {
    /// # Errors
    /// `W0405` where a folder cannot be resolved. No folder at all grants nothing.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Result<Self> {
        let resolve = |folder: PathBuf| {
            folder.canonicalize().map_err(|e| {
                Error::new(Code::BadFile, e.to_string()).at(Place::Path(folder.display().to_string()))
            })
        };
        Ok(Self(folders.into_iter().map(resolve).collect::<Result<_>>()?))
    }

    /// The path with its links followed; what does not exist yet may follow an existing folder.
    ///
    /// # Errors
    /// `W0402` where the path leads out of all granted folders.
    pub fn resolve(&self, path: &str) -> Result<PathBuf> {
        let refuse = |why: &str| {
            Err(Error::new(Code::Refused, why)
                .expected("a path inside a folder that the configuration grants")
                .at(Place::Path(path.to_owned())))
        };
        if path.is_empty() || path.contains('\0') {
            return refuse("not a path");
        }
        let Some(base) = self.0.first() else { return refuse("no folder is granted") };
        let whole = base.join(path);
        if whole.components().any(|c| matches!(c, Component::ParentDir)) {
            return refuse("`..` is not allowed in a path");
        }
        let (mut existing, mut missing) = (whole.as_path(), Vec::new());
        let resolved = loop {
            // A link whose target is missing exists: it must not be taken for a plain new name.
            if std::fs::symlink_metadata(existing).is_ok() {
                match existing.canonicalize() {
                    Ok(resolved) => break resolved,
                    Err(e) => return refuse(&e.to_string()),
                }
            }
            let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
                return refuse("the path has no existing parent");
            };
            missing.push(name);
            existing = parent;
        };
        let resolved = missing.iter().rev().fold(resolved, |path, name| path.join(name));
        if !self.0.iter().any(|root| resolved.starts_with(root)) {
            return refuse("the path leads out of the granted folders");
        }
        Ok(resolved)
    }
}

/// Opens a regular file for reading; anything else, and a link in the last place, is `W0405`.
pub fn open_regular(path: &Path) -> Result<std::fs::File> {
    let fail = |why: String| Error::new(Code::BadFile, why).at(Place::Path(path.display().to_string()));
    let before = std::fs::symlink_metadata(path).map_err(|e| fail(e.to_string()))?;
    if !before.is_file() {
        return Err(fail("not a regular file".into()));
    }
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let opened = file.metadata().map_err(|e| fail(e.to_string()))?;
    // The name may have been swapped between the look and the open.
    use std::os::unix::fs::MetadataExt;
    if !opened.is_file() || (opened.dev(), opened.ino()) != (before.dev(), before.ino()) {
        return Err(fail("the file was replaced while it was opened".into()));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(root.path().join("a.json"), "{}").unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("new"), root.path().join("dangling")).unwrap();
        let roots = Roots::new([root.path().to_path_buf()]).unwrap();
        let real = root.path().canonicalize().unwrap();
        assert_eq!(roots.resolve("a.json").unwrap(), real.join("a.json"));
        assert_eq!(roots.resolve("new/dir/b.json").unwrap(), real.join("new/dir/b.json"));
        assert_eq!(roots.resolve(real.join("a.json").to_str().unwrap()).unwrap(), real.join("a.json"));
        let sibling = format!("{}x", real.display());
        for bad in [
            "",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "link/secret",
            "link/new",
            "dangling",
            "/proc/self/environ",
            &sibling,
        ] {
            assert_eq!(roots.resolve(bad).err().map(|e| e.code()), Some(Code::Refused), "{bad}");
        }
    }

    #[test]
    fn devices_and_links_are_not_files() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("l")).unwrap();
        assert!(open_regular(&root.path().join("a")).is_ok());
        for bad in [root.path().join("l"), root.path().to_path_buf(), "/dev/zero".into(), "/missing".into()] {
            assert_eq!(open_regular(&bad).err().map(|e| e.code()), Some(Code::BadFile), "{bad:?}");
        }
    }
}
