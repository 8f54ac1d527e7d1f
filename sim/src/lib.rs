//! The simulated day.
