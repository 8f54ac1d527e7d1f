//! Column types: from SQL to Arrow.
//!
//! | SQL | Arrow |
//! |---|---|
//! | `BOOLEAN` | Boolean |
//! | `SMALLINT`, `INT`, `BIGINT` | Int16, Int32, Int64 |
//! | `REAL`, `FLOAT`, `DOUBLE [PRECISION]` | Float64: one float width, so that sums are exact |
//! | `DECIMAL(p, s)`, `NUMERIC` | Decimal128, p up to 38; without figures (38, 10) |
//! | `TEXT`, `VARCHAR`, `JSON` | Utf8 |
//! | `BYTEA` | Binary |
//! | `DATE` | Date32 |
//! | `TIMESTAMP`, `TIMESTAMPTZ` | Timestamp(Microsecond, None), UTC |
//! | `T[]`, `ARRAY<T>` | List |
//! | `STRUCT<a T, …>` | Struct |

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as Sql, ExactNumberInfo};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use weir_contract::{Code, Error, Place, Result};

use super::nearest::nearest;
use super::text::{Piece, is_word};

/// Event time, and every `TIMESTAMP` column.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

const NAMES: [&str; 20] = [
    "BOOLEAN",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "TEXT",
    "VARCHAR",
    "JSON",
    "BYTEA",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "ARRAY",
    "STRUCT",
    "CHAR",
];
const EXPECTED: &str = "BOOLEAN, SMALLINT, INT, BIGINT, DOUBLE, DECIMAL(p, s), TEXT, JSON, BYTEA, DATE, TIMESTAMP, \
                        ARRAY<…> or STRUCT<…>";

/// A type as the dialect names it, for messages.
pub fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 | DataType::UInt64 => "BIGINT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Binary => "BYTEA".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(..) => "TIMESTAMP".into(),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::List(element) => format!("{}[]", shown(element.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.name(), shown(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A column's type; `json` says that the column keeps JSON text of any kind.
pub(super) struct ColumnType {
    pub data_type: DataType,
    pub json: bool,
}

/// Reads a type.
pub(super) fn parse(piece: &Piece<'_>, parser: &mut Parser) -> Result<ColumnType> {
    let mut open = 0;
    let json =
        is_word(&parser.peek_token_ref().token, "JSON") || is_word(&parser.peek_token_ref().token, "JSONB");
    let data_type = nested(piece, parser, &mut open)?;
    if open > 0 {
        return Err(piece.unexpected(parser, "one `>` less"));
    }
    let json = json && data_type == DataType::Utf8;
    Ok(ColumnType { data_type, json })
}

/// `surplus` counts closing `>` that a `>>` brought for an outer type.
fn nested(piece: &Piece<'_>, parser: &mut Parser, surplus: &mut u32) -> Result<DataType> {
    let at = piece.here(parser);
    let next = parser.peek_token();
    let opens = parser.peek_nth_token(1).token == Token::Lt;
    let mut data_type = if is_word(&next.token, "STRUCT") && opens {
        parser.advance_token();
        parser.advance_token();
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let place = piece.here(parser);
            let name = super::ddl::name(&parser.parse_identifier().map_err(|e| piece.syntax(e))?);
            let _ = parser.consume_token(&Token::Colon);
            if fields.iter().any(|f| *f.name() == name) {
                return Err(Error::new(Code::Duplicate, format!("field `{name}` is given twice")).at(place));
            }
            fields.push(Field::new(name, nested(piece, parser, surplus)?, true));
            if *surplus > 0 || !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        close(piece, parser, surplus)?;
        DataType::Struct(Fields::from(fields))
    } else if is_word(&next.token, "ARRAY") && opens {
        parser.advance_token();
        parser.advance_token();
        let element = nested(piece, parser, surplus)?;
        close(piece, parser, surplus)?;
        list(element)
    } else {
        let sql = parser.parse_data_type().map_err(|e| piece.syntax(e))?;
        convert(&sql, &at)?
    };
    while *surplus == 0 && parser.consume_token(&Token::LBracket) {
        parser.expect_token(&Token::RBracket).map_err(|e| piece.syntax(e))?;
        data_type = list(data_type);
    }
    Ok(data_type)
}

fn close(piece: &Piece<'_>, parser: &mut Parser, surplus: &mut u32) -> Result<()> {
    if *surplus > 0 {
        *surplus -= 1;
    } else if parser.consume_token(&Token::ShiftRight) {
        *surplus += 1;
    } else if !parser.consume_token(&Token::Gt) {
        return Err(piece.unexpected(parser, "`,` or `>`"));
    }
    Ok(())
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

fn convert(sql: &Sql, at: &Place) -> Result<DataType> {
    let unknown = |expected: String| {
        Error::new(Code::BadColumn, format!("there is no type `{sql}`")).at(at.clone()).expected(expected)
    };
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) => DataType::Int64,
        Sql::Real | Sql::Float(_) | Sql::Float4 | Sql::Float8 | Sql::Double(_) | Sql::DoublePrecision => {
            DataType::Float64
        }
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => match decimal(info) {
            Some(data_type) => data_type,
            None => return Err(unknown("DECIMAL(p, s) with p from 1 to 38 and s from 0 to p".into())),
        },
        Sql::Text
        | Sql::Varchar(None)
        | Sql::CharacterVarying(None)
        | Sql::String(None)
        | Sql::JSON
        | Sql::JSONB => DataType::Utf8,
        Sql::Varchar(Some(_)) | Sql::CharacterVarying(Some(_)) => {
            return Err(Error::new(Code::NotYet, "a length of VARCHAR is not checked")
                .at(at.clone())
                .expected("TEXT or VARCHAR without a length"));
        }
        Sql::Bytea => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Timestamp(precision, _) if precision.is_none_or(|p| p <= 6) => TIMESTAMP,
        Sql::Timestamp(..) => return Err(unknown("TIMESTAMP(0) to TIMESTAMP(6): microseconds".into())),
        Sql::Array(
            ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, None),
        ) => list(convert(element, at)?),
        other => {
            let word = other.to_string();
            return Err(unknown(match nearest(&word, NAMES) {
                Some(near) if !near.eq_ignore_ascii_case(&word) => format!("{near} (did you mean that?)"),
                _ => EXPECTED.into(),
            }));
        }
    })
}

fn decimal(info: &ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    let (p, s) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    ((1..=38).contains(&p) && s >= 0 && u64::from(p) >= u64::try_from(scale).ok()?)
        .then_some(DataType::Decimal128(p, s))
}
