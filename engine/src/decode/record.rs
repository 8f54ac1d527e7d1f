//! One JSON record to one slot for each column that it can fill, and each field of a STRUCT that is built.
//!
//! In:   a record's text. Out: slots, or the first thing that is wrong with it.
//! Owns: keys to slots. Records of one stream have their keys in one order, so the column of the n-th key
//! is tried first where it stood last time; the outcome does not depend on that.

use datafusion::arrow::datatypes::DataType;
use weir_contract::Code;

use super::Reject;
use super::kind::{Kind, Scratch, Slot};
use super::scan::{Scanner, unescaped};

/// A column that comes from the record's value, or a field of one.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub kind: Kind,
    /// Index of its slot.
    pub slot: usize,
    /// What it is built with; None: it is checked only.
    pub built: Option<DataType>,
    /// The fields of a STRUCT that is built.
    pub fields: Option<Members>,
    /// The name stands in JSON as it is.
    unescaped: bool,
}

impl Member {
    /// `slots` counts the slots that are given away; those of a STRUCT's fields are taken from it.
    pub fn new(name: &str, kind: &Kind, slot: usize, built: Option<&DataType>, slots: &mut usize) -> Member {
        let fields = match (kind, built) {
            (Kind::Struct(kinds), Some(DataType::Struct(wanted))) => {
                let member = |(name, kind): &(String, Kind)| {
                    let built = wanted.find(name).map(|(_, f)| f.data_type());
                    *slots += 1;
                    Member::new(name, kind, *slots - 1, built, slots)
                };
                Some(Members::new(kinds.iter().map(member).collect()))
            }
            _ => None,
        };
        Member {
            name: name.to_owned(),
            kind: kind.clone(),
            slot,
            built: built.cloned(),
            fields,
            unescaped: unescaped(name),
        }
    }

    fn value<'a>(
        &mut self,
        s: &mut Scanner<'a>,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch,
    ) -> Result<Slot<'a>, Reject> {
        match (&mut self.fields, &self.built) {
            (Some(fields), _) if s.peek() == Some(b'{') => {
                let from = s.at();
                fields.object(s, slots, scratch, false)?;
                Ok(Slot::Raw(s.since(from)))
            }
            (_, Some(_)) => self.kind.value(s, scratch),
            (_, None) => self.kind.check(s, scratch),
        }
    }
}

/// The keys of a table's records, or of a STRUCT.
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

    pub fn by_name(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    pub fn by_slot(&self, slot: usize) -> Option<&Member> {
        self.members.iter().find(|m| m.slot == slot)
    }

    /// Fills the slots of the columns that the record has; the others stay as they are (`Absent`).
    pub fn read<'a>(
        &mut self,
        text: &'a str,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch,
    ) -> Result<(), Reject> {
        let mut scanner = Scanner::new(text);
        self.object(&mut scanner, slots, scratch, true).and_then(|()| scanner.end()).map_err(|reject| {
            // Text that is no JSON at all says so, whatever came before the break.
            let mut whole = Scanner::new(text);
            whole.skip().and_then(|()| whole.end()).err().unwrap_or(reject)
        })
    }

    fn object<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        slots: &mut [Slot<'a>],
        scratch: &mut Scratch,
        columns: bool,
    ) -> Result<(), Reject> {
        let (members, last) = (&mut self.members, &mut self.last);
        let mut nth = 0;
        scanner.members(|s| {
            let guess = last.get(nth).copied().unwrap_or(members.len());
            let found = match members.get(guess) {
                Some(member) if member.unescaped && s.known_key(&member.name)? => Some(guess),
                _ => {
                    let name = s.key()?.unescape(&mut scratch.key);
                    members.iter().position(|m| m.name == name)
                }
            };
            if nth >= last.len() {
                last.push(members.len());
            }
            last[nth] = found.unwrap_or(members.len());
            nth += 1;
            let Some(member) = found.map(|index| &mut members[index]) else { return s.skip() };
            if !matches!(slots[member.slot], Slot::Absent) {
                let what = if columns { "" } else { "field " };
                return Err(Reject::new(Code::BadRecord, format!("{what}`{}` is given twice", member.name)));
            }
            let value = member.value(s, slots, scratch).map_err(|r| match columns {
                true => Reject::new(r.code, format!("`{}`: {}", member.name, r.reason)),
                false => r,
            })?;
            slots[member.slot] = value;
            Ok(())
        })
    }
}
