//! A scanner that types: key events of the kernel to characters.
//!
//! In:   `struct input_event` of `/dev/input/by-id/…-event-kbd`, grabbed, so that nothing else gets the keys.
//! Out:  bytes as a serial scanner would send them, Enter and tab as terminators.
//!       Where the kernel's buffer overflowed, `SYN_DROPPED` stands for what was lost: told, never passed over.
//! Owns: the layout. Scanners type as on a US keyboard unless told otherwise (many can: set them to that),
//!       and some send characters as Alt with digits of the keypad.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;

/// Bytes of one event on 64-bit Linux: two words of time, type, code, value.
const EVENT_BYTES: usize = 24;
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_REPORT: u16 = 0;
const SYN_DROPPED: u16 = 3;
/// `EVIOCGRAB` of the kernel's interface: `_IOW('E', 0x90, int)`.
const EVIOCGRAB: libc::c_ulong = 0x4004_4590;

const ENTER: u16 = 28;
const TAB: u16 = 15;
const KEYPAD_ENTER: u16 = 96;
const SHIFTS: [u16; 2] = [42, 54];
const ALTS: [u16; 2] = [56, 100];
const CAPS_LOCK: u16 = 58;

/// A key that went down, stayed down or went up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEvent {
    pub code: u16,
    /// 0 up, 1 down, 2 repeat.
    pub value: i32,
}

/// What the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Key(KeyEvent),
    /// The end of events that belong together.
    Report,
    /// The buffer overflowed: what comes up to the next report is not whole.
    Lost,
}

/// First key code of a row of the keyboard, its characters, and the same with shift.
const ROWS: [(u16, &str, &str); 8] = [
    (2, "1234567890-=", "!@#$%^&*()_+"),
    (16, "qwertyuiop[]", "QWERTYUIOP{}"),
    (30, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (55, "*", "*"),
    (57, " ", " "),
    (71, "789-456+1230.", "789-456+1230."),
    (98, "/", "/"),
];

fn character(code: u16, shift: bool) -> Option<u8> {
    let (first, plain, shifted) = ROWS.iter().rev().find(|(first, ..)| *first <= code)?;
    let row = if shift { shifted } else { plain };
    row.as_bytes().get(usize::from(code - first)).copied()
}

/// Turns key events into characters.
#[derive(Debug, Default)]
pub struct Keys {
    shifts: u8,
    caps: bool,
    alts: u8,
    /// Digits typed on the keypad while Alt is held.
    alt_code: Option<u32>,
    /// Until the next report.
    lost: bool,
}

impl Keys {
    /// After a loss no key is held: whether Shift went up meanwhile is not known, and a scanner presses it anew.
    pub fn take(&mut self, input: Input, bytes: &mut Vec<u8>) {
        match input {
            Input::Lost => *self = Self { lost: true, ..Self::default() },
            Input::Report => self.lost = false,
            Input::Key(_) if self.lost => {}
            Input::Key(event) => self.push(event, bytes),
        }
    }

    fn push(&mut self, event: KeyEvent, bytes: &mut Vec<u8>) {
        let down = event.value != 0;
        let held = |keys: [u16; 2], state: u8| {
            let bit = if event.code == keys[0] { 1 } else { 2 };
            if down { state | bit } else { state & !bit }
        };
        match event.code {
            code if SHIFTS.contains(&code) => self.shifts = held(SHIFTS, self.shifts),
            code if ALTS.contains(&code) => {
                self.alts = held(ALTS, self.alts);
                if self.alts == 0
                    && let Some(code) = self.alt_code.take()
                {
                    bytes.extend(char::from_u32(code).unwrap_or('\u{fffd}').to_string().into_bytes());
                }
            }
            CAPS_LOCK if event.value == 1 => self.caps = !self.caps,
            // A scanner never holds a key: a repeat would double a character.
            _ if event.value != 1 => {}
            ENTER | KEYPAD_ENTER => bytes.push(b'\n'),
            TAB => bytes.push(b'\t'),
            code if self.alts != 0 => {
                if let Some(digit) = character(code, false).filter(u8::is_ascii_digit) {
                    let so_far = self.alt_code.unwrap_or(0).saturating_mul(10).min(1 << 21);
                    self.alt_code = Some(so_far + u32::from(digit - b'0'));
                }
            }
            code => {
                let letter = character(code, false).is_some_and(|c| c.is_ascii_lowercase());
                bytes.extend(character(code, (self.shifts != 0) != (self.caps && letter)));
            }
        }
    }
}

/// Where key events come from.
pub trait KeySource: Send {
    /// Waits for events; none where the device is silent for a moment.
    fn read(&mut self) -> io::Result<Vec<Input>>;
}

/// A device of the kernel, grabbed.
pub struct InputDevice(File);

impl InputDevice {
    /// # Errors
    /// Where it cannot be opened, or somebody else has grabbed it.
    #[allow(unsafe_code)]
    pub fn open(path: &str) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the descriptor is open for the whole call, and the request takes an int by value.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), EVIOCGRAB as _, 1_i32) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(file)) }
    }
}

/// Events out of the kernel's bytes; what is about no key is left out.
pub fn parse_events(bytes: &[u8]) -> Vec<Input> {
    let event = |e: &[u8]| {
        let number = |at: usize| u16::from_ne_bytes([e[at], e[at + 1]]);
        let value = i32::from_ne_bytes([e[20], e[21], e[22], e[23]]);
        match (number(16), number(18)) {
            (EV_KEY, code) => Some(Input::Key(KeyEvent { code, value })),
            (EV_SYN, SYN_REPORT) => Some(Input::Report),
            (EV_SYN, SYN_DROPPED) => Some(Input::Lost),
            _ => None,
        }
    };
    bytes.chunks_exact(EVENT_BYTES).filter_map(event).collect()
}

impl KeySource for InputDevice {
    fn read(&mut self) -> io::Result<Vec<Input>> {
        if !super::wait_readable(self.0.as_raw_fd(), 100)? {
            return Ok(Vec::new());
        }
        let mut bytes = [0; EVENT_BYTES * 64];
        // The kernel gives whole events only.
        let count = self.0.read(&mut bytes)?;
        Ok(parse_events(&bytes[..count]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let rest = [kind.to_ne_bytes(), code.to_ne_bytes()].concat();
        [&[0; 16][..], &rest, &value.to_ne_bytes()].concat()
    }

    /// As `evtest` records them: code and value.
    fn typed(events: &[(u16, i32)]) -> String {
        let mut keys = Keys::default();
        let mut bytes = Vec::new();
        for (code, value) in events {
            let raw = [event(EV_KEY, *code, *value), event(EV_SYN, SYN_REPORT, 0)].concat();
            parse_events(&raw).into_iter().for_each(|e| keys.take(e, &mut bytes));
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn after_a_loss_nothing_is_held_and_what_is_not_whole_is_left_out() {
        let raw = [
            event(EV_KEY, 42, 1),
            event(EV_KEY, 30, 1),
            event(EV_SYN, SYN_REPORT, 0),
            event(EV_SYN, SYN_DROPPED, 0),
            event(EV_KEY, 48, 1),
            event(EV_SYN, SYN_REPORT, 0),
            event(EV_KEY, 46, 1),
        ];
        let inputs = parse_events(&raw.concat());
        assert_eq!(inputs.iter().filter(|i| **i == Input::Lost).count(), 1);
        let (mut keys, mut bytes) = (Keys::default(), Vec::new());
        inputs.into_iter().for_each(|i| keys.take(i, &mut bytes));
        assert_eq!(bytes, b"Ac");
    }

    fn press(codes: &[u16]) -> Vec<(u16, i32)> {
        codes.iter().flat_map(|c| [(*c, 1), (*c, 0)]).collect()
    }

    #[test]
    fn an_ean_is_typed_with_the_digits_of_the_top_row() {
        let codes = [5, 11, 11, 7, 4, 9, 2, 4, 4, 4, 10, 4, 2, ENTER];
        assert_eq!(typed(&press(&codes)), "4006381333931\n");
    }

    #[test]
    fn shift_caps_and_repeats() {
        let shifted = [vec![(42, 1)], press(&[30, 12]), vec![(42, 0)], press(&[30, 12, 57])].concat();
        assert_eq!(typed(&shifted), "A_a- ");
        let caps = [press(&[58]), press(&[30, 2]), vec![(54, 1)], press(&[30]), vec![(54, 0)]].concat();
        assert_eq!(typed(&caps), "A1a");
        assert_eq!(typed(&[(30, 1), (30, 2), (30, 2), (30, 0)]), "a", "a repeat is not a second character");
        let both = [vec![(42, 1), (54, 1), (42, 0)], press(&[48]), vec![(54, 0)], press(&[48])].concat();
        assert_eq!(typed(&both), "Bb");
    }

    #[test]
    fn keypad_and_alt_codes() {
        assert_eq!(typed(&press(&[79, 80, 81, 83, 96])), "123.\n");
        let alt = [vec![(56, 1)], press(&[82, 71, 75]), vec![(56, 0)], press(&[28])].concat();
        assert_eq!(typed(&alt), "J\n", "Alt 074");
        let wide = [vec![(56, 1)], press(&[82, 80, 76, 79]), vec![(56, 0)]].concat();
        assert_eq!(typed(&wide), "û", "Alt 0251");
    }

    #[test]
    fn every_printable_character_can_be_typed() {
        for wanted in b' '..=b'~' {
            let found = (1..110)
                .any(|code| character(code, false) == Some(wanted) || character(code, true) == Some(wanted));
            assert!(found, "{}", wanted as char);
        }
    }
}
