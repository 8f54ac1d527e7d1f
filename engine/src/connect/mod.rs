//! What a connector has to offer, and the list of those that a program can name in `WITH`.

pub mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_contract::{Code, Error, Result};

use crate::sink::SinkFactory;
use crate::source::Source;
use crate::sql::catalog::TableSpec;

/// An option that a connector understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionDoc {
    pub name: &'static str,
    pub required: bool,
    pub doc: &'static str,
}

/// One `connector = '…'`.
pub trait Connector: Send + Sync {
    fn name(&self) -> &'static str;

    /// Options beside those that every table has. A name that ends in `.*` stands for a prefix.
    fn options(&self) -> &'static [OptionDoc];

    /// Opens a source. Errors here stop the start, with the table's place.
    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>>;

    /// Opens a sink. `W0402` where the connector cannot write.
    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>>;
}

/// Connectors by name.
#[derive(Clone, Default)]
pub struct Registry {
    by_name: BTreeMap<&'static str, Arc<dyn Connector>>,
}

impl Registry {
    pub fn with(mut self, connector: impl Connector + 'static) -> Self {
        self.by_name.insert(connector.name(), Arc::new(connector));
        self
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Connector>> {
        self.by_name.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }
}

/// The topic, folder or file name that a table stands for: option `topic`, else the table's name.
pub fn topic_of(table: &TableSpec) -> &str {
    table.options.get("topic").map_or(table.name.as_str(), String::as_str)
}

/// Option `partitions`: a number from 1 to [`PARTITIONS_MAX`].
///
/// # Errors
/// `W0204` at the table's place.
pub fn partitions_of(table: &TableSpec) -> Result<Option<u32>> {
    let Some(text) = table.options.get("partitions") else { return Ok(None) };
    match text.parse() {
        Ok(n) if (1..=PARTITIONS_MAX).contains(&n) => Ok(Some(n)),
        _ => Err(Error::new(Code::BadOption, format!("`partitions` is '{text}'"))
            .expected(format!("a number from 1 to {PARTITIONS_MAX}"))
            .at(table.place.clone())),
    }
}

/// Most partitions of one topic. Eyeballed: a warehouse each, a hundred times the largest floor.
pub const PARTITIONS_MAX: u32 = 10_000;
