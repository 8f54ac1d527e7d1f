//! A rule: identity, options, and what each column of its query means.
//!
//! In:   a [`RuleSpec`] (options read by the SQL front) and the [`StreamSchema`] of its planned query.
//! Out:  a [`Rule`], or an error that names the column, what it is and what was expected.
//! Owns: the contract of a rule's columns, the version of its text, the `explain` template. Not the rows:
//!       `episodes` turns those into events.
//!
//! R1  A `Rule` that exists can judge every row: its columns are there and of the right types.
//! R2  The version depends on the statement alone, not on blanks, comments or letter case outside quotes.
//! R3  `event_time` is an event-time column: its frontier says when a row is final.
//!
//! Start at [`Rule::new`].

mod columns;
mod template;
mod version;

#[cfg(test)]
mod tests;

pub use columns::RuleColumns;
pub use template::{Piece, Template};
pub use version::normalised;

use weir_contract::event::version_of;
use weir_contract::{Code, Error, Result};

use crate::base::StreamSchema;
use crate::sql::catalog::{RuleKind, RuleOptions, RuleSpec};

/// A rule that is ready to judge the rows of its query.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    /// 16 hex digits over the normalised statement.
    pub version: String,
    /// Last part of the folder of its file: the event topic's name.
    pub folder: String,
    pub options: RuleOptions,
    pub columns: RuleColumns,
    /// `explain`, its placeholders resolved to columns.
    pub explain: Option<Template>,
}

impl Rule {
    /// Checks a rule against the columns that its query gives.
    ///
    /// # Errors
    /// `W0207` where `event_time` is no event-time column, `W0211` for a missing, doubled or wrongly typed
    /// column, `W0202` for an unknown column in the `explain` template, `W0204` for a negative timer. All
    /// carry the rule's place.
    pub fn new(spec: &RuleSpec, output: &StreamSchema) -> Result<Rule> {
        Self::build(spec, output).map_err(|e| e.or_at(spec.place.clone()))
    }

    fn build(spec: &RuleSpec, output: &StreamSchema) -> Result<Rule> {
        let options = &spec.options;
        for (option, span, least) in [
            ("fire_after", options.fire_after, 0),
            ("clear_after", options.clear_after, 0),
            ("no_data", options.no_data.unwrap_or(1), 1),
        ] {
            if span < least {
                let what = format!("`{option}` of rule `{}` is {span} microseconds", spec.name);
                return Err(Error::new(Code::BadOption, what).expected(format!("at least {least}")));
            }
        }
        let columns = RuleColumns::new(&spec.name, options, output)?;
        let explain =
            options.explain.as_deref().map(|t| Template::parse(&spec.name, t, &output.schema)).transpose()?;
        Ok(Rule {
            name: spec.name.clone(),
            version: version_of(&normalised(&spec.text)),
            folder: spec.folder.clone(),
            options: options.clone(),
            columns,
            explain,
        })
    }

    pub fn is_condition(&self) -> bool {
        self.options.kind == RuleKind::Condition
    }
}
