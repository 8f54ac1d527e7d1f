//! One JSON record to one slot for each column that it can fill.
//!
//! In:   a record's text. Out: slots, or the first thing that is wrong with it.
//! Owns: keys to columns. Records of one stream have their keys in one order, so the column of the n-th key
//! is tried first where it stood last time; the outcome does not depend on that.

use weir_contract::Code;

use super::Reject;
use super::kind::{Kind, Scratch, Slot};
use super::scan::Scanner;

/// A column that comes from the record's value.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub kind: Kind,
    /// Index of its slot.
    pub slot: usize,
}

/// The keys of a table's records.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: Vec<Member>,
    /// Member of the n-th key of the last record; one past the end for an unknown key.
    last: Vec<usize>,
}

impl Members {
    pub fn new(members: Vec<Member>) -> Self {
        Self { members, last: Vec::new() }
    }

    /// Fills the slots of the columns that the record has; the others stay as they are (`Absent`).
    pub fn read<'a>(
        &mut self,
        text: &'a str,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch,
    ) -> Result<(), Reject> {
        self.fill(text, slots, scratch).map_err(|reject| {
            // Text that is no JSON at all says so, whatever came before the break.
            let mut whole = Scanner::new(text);
            whole.skip().and_then(|()| whole.end()).err().unwrap_or(reject)
        })
    }

    fn fill<'a>(
        &mut self,
        text: &'a str,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch,
    ) -> Result<(), Reject> {
        let (members, last) = (&self.members, &mut self.last);
        let mut nth = 0;
        let mut scanner = Scanner::new(text);
        scanner.object(|s, key| {
            let name = key.unescape(&mut scratch.key);
            let guess = last.get(nth).copied().unwrap_or(members.len());
            let found = match members.get(guess) {
                Some(member) if member.name == name => Some(guess),
                _ => members.iter().position(|m| m.name == name),
            };
            if nth >= last.len() {
                last.push(members.len());
            }
            last[nth] = found.unwrap_or(members.len());
            nth += 1;
            let Some(member) = found.map(|index| &members[index]) else { return s.skip() };
            if slots[member.slot] != Slot::Absent {
                return Err(Reject::new(Code::BadRecord, format!("`{}` is given twice", member.name)));
            }
            slots[member.slot] = member
                .kind
                .value(s, scratch)
                .map_err(|r| Reject::new(r.code, format!("`{}`: {}", member.name, r.reason)))?;
            Ok(())
        })?;
        scanner.end()
    }
}
