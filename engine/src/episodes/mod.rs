//! episodes
