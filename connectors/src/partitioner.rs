//! Which partition a keyed record goes to. The function itself is part of the contract, since the edge
//! and the simulator write keyed records too.

pub use weir_contract::partitioner::{murmur2, partition_of};
