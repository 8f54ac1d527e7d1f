//! Sources and sinks.
//!
//! Each connector implements the ports of the engine and passes [`compliance`]. [`registry`] lists
//! those that a program can name in `WITH`.

pub mod compliance;
pub mod file;
pub mod kafka;
pub mod log;
pub mod partitioner;
pub mod paths;
pub mod recording;
pub mod reference;
pub mod simple;

use std::path::PathBuf;
use std::sync::Arc;

use weir_contract::Clock;
use weir_engine::connect::Registry;

/// What connectors need to know of the process they run in.
#[derive(Clone)]
pub struct Surroundings {
    /// Folder of the embedded log, for tables without the option `path`.
    pub log: PathBuf,
    /// Folders that a program's `path` options may name.
    pub roots: paths::Roots,
    /// Stamps append times of the embedded log; nothing else reads it.
    pub clock: Arc<dyn Clock>,
}

/// Everything that `connector = '…'` can say. `reference` is no connector of records: see
/// [`reference::ReferenceDb`].
pub fn registry(surroundings: &Surroundings) -> Registry {
    let Surroundings { log, roots, clock } = surroundings;
    Registry::default()
        .with(kafka::KafkaConnector)
        .with(log::LogConnector::new(log, roots.clone(), clock.clone()))
        .with(file::SingleFile::new(roots.clone()))
        .with(file::Filesystem::new(roots.clone()))
        .with(simple::StdoutConnector)
        .with(simple::BlackholeConnector::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connector_stands_once_in_the_registry() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(weir_contract::WallClock);
        let roots = paths::Roots::new([folder.path().to_path_buf()]).unwrap();
        let registry = registry(&Surroundings { log: folder.path().into(), roots, clock });
        let names: Vec<_> = registry.names().collect();
        assert_eq!(names, ["blackhole", "filesystem", "kafka", "log", "single_file", "stdout"]);
    }
}
