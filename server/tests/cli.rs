//! The binary from outside: what people and scripts see.
//!
//! Every test has a folder of its own and only bounded waits.

#[path = "cli/bad.rs"]
mod bad;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/lasting.rs"]
mod lasting;
#[path = "cli/rig.rs"]
mod rig;
#[path = "cli/words.rs"]
mod words;
