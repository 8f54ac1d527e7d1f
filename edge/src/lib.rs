//! The agent beside cameras and scanners: captures, keeps through power cuts, publishes in order.
//!
//! In the order a record meets them: [`config`] says what there is, [`scan`] and [`capture`] see, [`sight`] looks into
//! frames, [`agent`] decides what it is, [`time`] and [`record`] when it was, [`spool`] keeps it, [`publish`] sends it. [`gpio`],
//! [`health`] and [`doctor`] stand beside; [`run`] is the loop. Never DataFusion.

pub mod time;
pub mod record;
pub mod spool;
pub mod web;
pub mod publish;
pub mod config;
pub mod scan;
pub mod capture;
pub mod sight;
pub mod gpio;
pub mod health;
pub mod agent;
pub mod run;
pub mod doctor;
