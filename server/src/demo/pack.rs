//! The rule pack inside the binary, so that the demo needs no folder.
//!
//! A test holds the list against `rules/`.

use std::path::Path;

use weir_contract::{Code, Error, Place, Result};
use weir_engine::sql::SourceFile;

/// Name of the pack as a program: what `weir run rules` would call it.
pub const NAME: &str = "rules";

macro_rules! pack {
    ($($path:literal),* $(,)?) => {
        /// Path below `rules/` and text.
        const FILES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../../rules/", $path)))),*];
    };
}

pack![
    "buffers/jam.sql",
    "buffers/overflow.sql",
    "buffers/starvation.sql",
    "devices/battery_low.sql",
    "devices/camera_silent.sql",
    "devices/clock_skew.sql",
    "devices/device_behind.sql",
    "devices/device_silent.sql",
    "devices/hot_or_full.sql",
    "devices/spool_growing.sql",
    "reference.sql",
    "streams.sql",
    "validation/barcode.sql",
    "validation/brand_mismatch.sql",
    "views/buffer_fill.sql",
    "views/path_fill.sql",
];

/// The pack as `sql::load` would read it from a folder named `rules`.
pub fn files() -> Vec<SourceFile> {
    FILES
        .iter()
        .map(|(path, text)| SourceFile {
            name: format!("{NAME}/{path}"),
            folder: path.rsplit_once('/').map_or(NAME, |(folder, _)| last(folder)).into(),
            text: (*text).into(),
        })
        .collect()
}

/// The detector, a program of its own.
pub fn detect() -> SourceFile {
    SourceFile {
        name: format!("{NAME}/detect.sql"),
        folder: NAME.into(),
        text: include_str!("../../../rules/detect.sql").into(),
    }
}

fn last(folder: &str) -> &str {
    folder.rsplit_once('/').map_or(folder, |(_, last)| last)
}

/// Writes the pack into a folder, for a look or for `weir replay`.
pub fn write(folder: &Path) -> Result<()> {
    for (path, text) in FILES {
        let file = folder.join(path);
        let broken = |e: std::io::Error| {
            Error::new(Code::Io, e.to_string()).at(Place::Path(file.display().to_string()))
        };
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(broken)?;
        }
        std::fs::write(&file, text).map_err(broken)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pack_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
        let on_disk = weir_engine::sql::load(&folder).unwrap();
        let strip = |files: Vec<SourceFile>| {
            files
                .into_iter()
                .map(|f| {
                    (
                        f.name.rsplit_once("rules/").map(|(_, p)| p.to_owned()).unwrap_or_default(),
                        f.folder,
                        f.text,
                    )
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(strip(files()), strip(on_disk), "keep the list in pack.rs in step with rules/");
    }
}
