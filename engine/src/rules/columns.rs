//! The reserved columns of a rule's query, found and checked.
//!
//! In:   the rule's options and the schema of its query.
//! Out:  [`RuleColumns`]: an index for each meaning.
//! Owns: names, types and which of them a kind of rule must or must not have.
//!
//! Hidden columns (`__…`) mean nothing to a rule. Every visible column is either reserved, a key, or `extra`.

use datafusion::arrow::datatypes::{DataType, Schema};
use weir_contract::{Code, Error, Result};

use crate::base::StreamSchema;
use crate::sql::catalog::{RuleKind, RuleOptions};
use crate::sql::types::shown;

/// Which column has which meaning. Indices are into the schema of the rule's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleColumns {
    pub warehouse: usize,
    pub event_time: usize,
    /// The entry of the stream's `times` that is `event_time`.
    pub time: usize,
    /// In the order of the option `key`.
    pub key: Vec<usize>,
    /// There for a condition, absent for an event.
    pub fire: Option<usize>,
    pub clear: Option<usize>,
    pub unit_id: Option<usize>,
    pub severity: Option<usize>,
    pub recommendation: Option<usize>,
    pub quantity: Option<usize>,
    pub quantity_unit: Option<usize>,
    pub reason: Option<usize>,
    pub frame_uri: Option<usize>,
    pub boxes: Option<usize>,
    /// All other visible columns, in the order of the query.
    pub extra: Vec<usize>,
}

/// Names with a meaning of their own.
const RESERVED: [&str; 12] = [
    "warehouse",
    "event_time",
    "fire",
    "clear",
    "unit_id",
    "severity",
    "recommendation",
    "quantity",
    "quantity_unit",
    "reason",
    "frame_uri",
    "boxes",
];

pub(super) fn is_visible(name: &str) -> bool {
    !name.starts_with("__")
}

/// Names of the visible columns, in order.
pub(super) fn visible(schema: &Schema) -> impl Iterator<Item = &str> + Clone {
    schema.fields().iter().map(|f| f.name().as_str()).filter(|name| is_visible(name))
}

fn is_text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

struct Finder<'a> {
    rule: &'a str,
    schema: &'a Schema,
}

impl Finder<'_> {
    fn bad(&self, what: String, expected: &str) -> Error {
        Error::new(Code::BadRule, format!("rule `{}`: {what}", self.rule)).expected(expected)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.schema.fields().iter().position(|f| f.name() == name)
    }

    fn required(&self, name: &str, why: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            let columns: Vec<&str> = visible(self.schema).collect();
            let what = format!("no column `{name}` ({why}); the query gives {}", columns.join(", "));
            match crate::sql::nearest::nearest(name, columns.iter().copied()) {
                Some(near) => self.bad(what, &format!("`{name}`; perhaps `{near} AS {name}`")),
                None => self.bad(what, &format!("a column `{name}`")),
            }
        })
    }

    fn check(&self, column: usize, expected: &str, is: impl Fn(&DataType) -> bool) -> Result<usize> {
        let field = self.schema.field(column);
        if is(field.data_type()) {
            return Ok(column);
        }
        Err(self.bad(format!("column `{}` is {}", field.name(), shown(field.data_type())), expected))
    }

    /// A column that may be absent or a bare NULL.
    fn optional(&self, name: &str, expected: &str, is: impl Fn(&DataType) -> bool) -> Result<Option<usize>> {
        self.find(name).map(|c| self.check(c, expected, |t| is(t) || t == &DataType::Null)).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<usize>> {
        self.optional(name, "TEXT", is_text)
    }
}

impl RuleColumns {
    pub(super) fn new(rule: &str, options: &RuleOptions, output: &StreamSchema) -> Result<Self> {
        let schema = output.schema.as_ref();
        let f = Finder { rule, schema };
        let mut names: Vec<&str> = visible(schema).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(f.bad(format!("two columns are named `{}`", pair[0]), "one column of each name"));
        }
        let warehouse = f.required("warehouse", "every rule judges within a warehouse")?;
        f.check(warehouse, "TEXT", is_text)?;
        let event_time = f.required("event_time", "when the row happened")?;
        let time = event_time_entry(&f, output, event_time)?;
        let key = options.key.iter().filter(|name| *name != "warehouse").map(|name| {
            let column = f.required(name, "it is named by the option `key`")?;
            f.check(column, "a key of a plain type, not a list or struct", |t| !t.is_nested())
        });
        let key = key.collect::<Result<Vec<usize>>>()?;
        let boolean = |t: &DataType| t == &DataType::Boolean;
        let fire = match options.kind {
            RuleKind::Condition => {
                let fire = f.required("fire", "a rule with kind = 'condition' says when it fires")?;
                Some(f.check(fire, "BOOLEAN", boolean)?)
            }
            RuleKind::Event => {
                if let Some(name) = ["fire", "clear"].into_iter().find(|name| f.find(name).is_some()) {
                    let what =
                        format!("kind = 'event' has a column `{name}`, but each of its rows is an event");
                    return Err(f.bad(what, "kind = 'condition', or the condition in WHERE"));
                }
                None
            }
        };
        let quantity = |t: &DataType| t.is_numeric();
        let is_extra = |i: &usize| {
            let name = schema.field(*i).name();
            is_visible(name) && !RESERVED.contains(&name.as_str()) && !key.contains(i)
        };
        Ok(RuleColumns {
            warehouse,
            event_time,
            time,
            fire,
            clear: f.optional("clear", "BOOLEAN", boolean)?,
            unit_id: f.text("unit_id")?,
            severity: f.text("severity")?,
            recommendation: f.text("recommendation")?,
            quantity: f.optional("quantity", "a number; its unit stands in `quantity_unit`", quantity)?,
            quantity_unit: f.text("quantity_unit")?,
            reason: f.text("reason")?,
            frame_uri: f.text("frame_uri")?,
            boxes: f.find("boxes"),
            extra: (0..schema.fields().len()).filter(is_extra).collect(),
            key,
        })
    }

    /// The same meanings over a schema that has only the columns `kept`, in that order. Columns with a
    /// meaning are always visible, so `kept` holds them all.
    ///
    /// # Errors
    /// `W0302` where it does not.
    pub fn project(&self, kept: &[usize]) -> Result<RuleColumns> {
        let at = |c: usize| {
            kept.iter().position(|k| *k == c).ok_or_else(|| {
                Error::new(Code::Internal, format!("column {c} of a rule is not among those kept"))
            })
        };
        let may = |c: Option<usize>| c.map(at).transpose();
        let all = |cs: &[usize]| cs.iter().map(|c| at(*c)).collect::<Result<Vec<usize>>>();
        Ok(RuleColumns {
            warehouse: at(self.warehouse)?,
            event_time: at(self.event_time)?,
            time: self.time,
            key: all(&self.key)?,
            fire: may(self.fire)?,
            clear: may(self.clear)?,
            unit_id: may(self.unit_id)?,
            severity: may(self.severity)?,
            recommendation: may(self.recommendation)?,
            quantity: may(self.quantity)?,
            quantity_unit: may(self.quantity_unit)?,
            reason: may(self.reason)?,
            frame_uri: may(self.frame_uri)?,
            boxes: may(self.boxes)?,
            extra: all(&self.extra)?,
        })
    }
}

/// The entry of `times` that `event_time` is, or why it is none.
fn event_time_entry(f: &Finder<'_>, output: &StreamSchema, column: usize) -> Result<usize> {
    if let Some(entry) = output.times.iter().position(|t| *t == column) {
        return Ok(entry);
    }
    let known: Vec<&str> = output
        .times
        .iter()
        .map(|t| output.schema.field(*t).name().as_str())
        .filter(|n| is_visible(n))
        .collect();
    let data_type = output.schema.field(column).data_type();
    let reason = if matches!(data_type, DataType::Timestamp(_, _)) {
        "the query computes it or takes it from a side that may be missing, so nothing says when it is final"
            .to_string()
    } else {
        format!("it is {}", shown(data_type))
    };
    let expected = if known.is_empty() {
        "a WATERMARK column, or one with a constant added, kept as event time by joins and groups".to_string()
    } else {
        format!("an event-time column AS event_time; the query has {}", known.join(", "))
    };
    let what = format!("rule `{}`: `event_time` is not an event-time column: {reason}", f.rule);
    Err(Error::new(Code::NotEventTime, what).expected(expected))
}
