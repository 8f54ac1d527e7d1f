//! The `explain` template: text with the names of columns in braces.
//!
//! In:   `'{unit_id} is {fill_ratio:.2} full'` and the schema of the rule's query.
//! Out:  [`Template`]: pieces of text and columns, in order.
//! Owns: the syntax. `{{` and `}}` are braces; `{name:.n}` shows a number with n digits after the point.

use datafusion::arrow::datatypes::Schema;
use weir_contract::{Code, Error, Result};

use super::columns::visible;

/// Digits after the point that a template may ask for; an f64 has no more that mean anything.
const DIGITS_MAX: usize = 17;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// A column of the query by name, and digits after the point where asked for.
    Column {
        name: String,
        digits: Option<usize>,
    },
}

impl Template {
    /// # Errors
    /// `W0204` for braces that do not pair or a bad format, `W0202` for an unknown column, with the
    /// nearest one.
    pub fn parse(rule: &str, text: &str, schema: &Schema) -> Result<Template> {
        let bad = |why: &str| {
            Error::new(Code::BadOption, format!("rule `{rule}`: `explain` {why}: '{text}'"))
                .expected("{column} or {column:.2}; {{ and }} for braces")
        };
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return Err(bad("has a `}` without its `{`"));
            }
            let end = after.find('}').ok_or_else(|| bad("has a `{` without its `}`"))?;
            let (name, format) = match after[..end].split_once(':') {
                Some((name, format)) => (name.trim(), Some(format.trim())),
                None => (after[..end].trim(), None),
            };
            let digits = match format {
                None => None,
                Some(format) => {
                    let digits = format.strip_prefix('.').and_then(|d| d.parse().ok());
                    Some(digits.filter(|d| *d <= DIGITS_MAX).ok_or_else(|| bad("has an unknown format"))?)
                }
            };
            if !visible(schema).any(|column| column == name) {
                let what = format!("rule `{rule}`: `explain` names `{name}`, which the query does not give");
                let known = crate::sql::nearest::suggest(name, visible(schema));
                return Err(Error::new(Code::UnknownName, what).expected(known));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Column { name: name.to_owned(), digits });
            rest = &after[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }
}
