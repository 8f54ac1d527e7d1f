//! What a connector has to offer, and the list of those that a program can name in `WITH`.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_contract::Result;

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
