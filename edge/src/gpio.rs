//! Pins: an edge that triggers cameras, and a lamp that people see.
//!
//! In:   pin numbers (BCM) and edges. Out: a call for each edge; levels on the lamp's pin.
//! Owns: the lamp's meaning, which is fail-safe: **it blinks once a second while everything is well; steady or
//!       dark means look**. A lamp whose agent is dead, killed or hung stands still, whatever level its pin
//!       was left at. Nothing that moves hangs on these pins.
//!
//! The Raspberry Pi's pins are reached through rppal; where there are none, opening them is an error that says
//! so. Tests put pins of their own in their place.

use std::time::Duration;

use rppal::gpio::{Gpio, InputPin, OutputPin, Trigger};
use weir_contract::{Code, Error, Result};

use crate::config::{Edge, TriggerPin};

/// Called at each edge, on a thread of the pins' own; must not wait.
pub type OnEdge = Box<dyn FnMut() + Send>;

/// Keeps a pin's watch while it lives.
pub trait Watch: Send {}

/// A pin that is set.
pub trait Level: Send {
    fn set(&mut self, high: bool);
}

/// Where pins are.
pub trait Pins {
    fn watch(&self, pin: TriggerPin, on_edge: OnEdge) -> Result<Box<dyn Watch>>;
    fn output(&self, pin: u8, high: bool) -> Result<Box<dyn Level>>;
}

/// Those of a Raspberry Pi.
pub struct PiPins(Gpio);

fn refused(what: &str) -> impl Fn(rppal::gpio::Error) -> Error + '_ {
    move |e| {
        Error::new(Code::Io, format!("{what}: {e}"))
            .expected("a Raspberry Pi, with /dev/gpiomem for this user (group gpio)")
            .act("owner of the device: leave [gpio] out where there are no pins.")
    }
}

impl PiPins {
    /// # Errors
    /// `W0501` where this machine has no pins, or they are not for this user.
    pub fn open() -> Result<Self> {
        Gpio::new().map(Self).map_err(refused("the pins cannot be opened"))
    }
}

struct PiWatch(InputPin);

impl Watch for PiWatch {}

impl Drop for PiWatch {
    fn drop(&mut self) {
        let _it_goes_anyway = self.0.clear_async_interrupt();
    }
}

struct PiLevel(OutputPin);

impl Level for PiLevel {
    fn set(&mut self, high: bool) {
        if high { self.0.set_high() } else { self.0.set_low() }
    }
}

impl Pins for PiPins {
    fn watch(&self, pin: TriggerPin, mut on_edge: OnEdge) -> Result<Box<dyn Watch>> {
        let what = format!("trigger pin {}", pin.pin);
        let mut input = self.0.get(pin.pin).map_err(refused(&what))?.into_input_pullup();
        let edge = match pin.edge {
            Edge::Rising => Trigger::RisingEdge,
            Edge::Falling => Trigger::FallingEdge,
        };
        let debounce = Duration::from_micros(pin.debounce_us.cast_unsigned());
        input.set_async_interrupt(edge, Some(debounce), move |_| on_edge()).map_err(refused(&what))?;
        Ok(Box::new(PiWatch(input)))
    }

    fn output(&self, pin: u8, high: bool) -> Result<Box<dyn Level>> {
        let found = self.0.get(pin).map_err(refused(&format!("lamp pin {pin}")))?;
        Ok(Box::new(PiLevel(if high { found.into_output_high() } else { found.into_output_low() })))
    }
}

/// Blinks while well.
pub struct Lamp {
    level: Box<dyn Level>,
    active_high: bool,
    lit: bool,
    next_us: i64,
}

/// Half of a second lit, half dark.
const HALF_US: i64 = 500_000;

impl Lamp {
    pub fn new(level: Box<dyn Level>, active_high: bool) -> Self {
        Self { level, active_high, lit: false, next_us: i64::MIN }
    }

    /// Called often, with the monotonic time. In trouble it stays lit: seen at once, and told from dark.
    pub fn step(&mut self, well: bool, now_us: i64) {
        let lit = match (well, now_us >= self.next_us) {
            (false, _) => true,
            (true, true) => !self.lit,
            (true, false) => return,
        };
        if well {
            self.next_us = now_us + HALF_US;
        }
        if lit != self.lit {
            self.lit = lit;
            self.level.set(lit == self.active_high);
        }
    }
}

/// Pins of a test.
#[cfg(test)]
pub(crate) mod fake {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Default)]
    struct FakeState {
        watches: Vec<(TriggerPin, OnEdge)>,
        levels: Vec<(u8, bool)>,
    }

    #[derive(Clone, Default)]
    pub struct FakePins(Arc<Mutex<FakeState>>);

    impl FakePins {
        fn with<T>(&self, work: impl FnOnce(&mut FakeState) -> T) -> T {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        /// An edge comes at a pin.
        pub fn edge(&self, pin: u8) {
            self.with(|s| s.watches.iter_mut().filter(|(p, _)| p.pin == pin).for_each(|(_, call)| call()));
        }

        /// Every level that was set, in order.
        pub fn levels(&self) -> Vec<(u8, bool)> {
            self.with(|s| s.levels.clone())
        }
    }

    struct FakeWatch;

    impl Watch for FakeWatch {}

    struct FakeLevel(FakePins, u8);

    impl Level for FakeLevel {
        fn set(&mut self, high: bool) {
            self.0.with(|s| s.levels.push((self.1, high)));
        }
    }

    impl Pins for FakePins {
        fn watch(&self, pin: TriggerPin, on_edge: OnEdge) -> Result<Box<dyn Watch>> {
            self.with(|s| s.watches.push((pin, on_edge)));
            Ok(Box::new(FakeWatch))
        }

        fn output(&self, pin: u8, high: bool) -> Result<Box<dyn Level>> {
            let mut level = FakeLevel(self.clone(), pin);
            level.set(high);
            Ok(Box::new(level))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::fake::FakePins;
    use super::*;

    #[test]
    fn a_machine_without_pins_says_so() {
        if let Err(error) = PiPins::open() {
            let text = error.to_string();
            assert!(text.contains("Raspberry Pi") && text.contains("leave [gpio] out"), "{text}");
        }
    }

    #[test]
    fn an_edge_calls() {
        let pins = FakePins::default();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let pin = TriggerPin { pin: 17, edge: Edge::Falling, debounce_us: 5_000 };
        let count = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let _watch = pins.watch(pin, count).unwrap();
        pins.edge(17);
        pins.edge(4);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_lamp_blinks_while_well_and_stands_still_in_trouble() {
        let pins = FakePins::default();
        let mut lamp = Lamp::new(pins.output(27, true).unwrap(), false);
        for step in 0..40 {
            lamp.step(true, step * 100_000);
        }
        let blinks = pins.levels().len();
        assert_eq!(blinks, 1 + 8, "twice a second, low is lit: {:?}", pins.levels());
        for step in 40..80 {
            lamp.step(false, step * 100_000);
        }
        let after = pins.levels();
        assert!(after.len() <= blinks + 1 && after.last() == Some(&(27, false)), "lit, and stays");
    }
}
