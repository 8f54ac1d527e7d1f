//! What the whole-program tests share: chance, worlds, and how programs are planned and run in memory.

pub mod outcome;
pub mod rig;
pub mod rng;
pub mod world;
