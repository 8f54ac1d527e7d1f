//! The pins: `[gpio.trigger]` and `[gpio.lamp]`.
//!
//! In:   their tables. Out: settings, none where a table is not there.
//! Owns: defaults and limits of both.

use super::section::Section;
use super::{Edge, LampPin, TriggerPin};

pub(super) fn trigger_pin(section: Section<'_>) -> Option<TriggerPin> {
    let there = section.is_there();
    let pin = TriggerPin {
        pin: section.number("pin", 0, 53).unwrap_or(0) as u8,
        edge: section
            .choice("edge", &[("rising", Edge::Rising), ("falling", Edge::Falling)])
            .unwrap_or(Edge::Falling),
        debounce_us: section.span_us("debounce").unwrap_or(5_000),
    };
    section.done();
    there.then_some(pin)
}

pub(super) fn lamp_pin(section: Section<'_>) -> Option<LampPin> {
    let there = section.is_there();
    let pin = LampPin {
        pin: section.number("pin", 0, 53).unwrap_or(0) as u8,
        active_high: section.choice("lit", &[("high", true), ("low", false)]).unwrap_or(true),
    };
    section.done();
    there.then_some(pin)
}
