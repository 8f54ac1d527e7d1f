//! A record's fate depends on its table's DDL alone: whatever is read, the same records are rows, the
//! others are refused for the same reasons, and what is built is what the whole decoder builds.

use std::collections::BTreeSet;

use datafusion::arrow::array::{Int32Array, Int64Array};
use datafusion::arrow::datatypes::Fields;
use proptest::prelude::*;

use super::*;
use crate::decode::{Reads, narrowed};

const DDL: &str = "CREATE TABLE x (a BIGINT NOT NULL, b INT, c SMALLINT, d DOUBLE, e DECIMAL(6, 2), f BOOLEAN,
    g TEXT, h JSON, i BYTEA, j DATE, k INT[], l STRUCT<x BIGINT, y TEXT[], z STRUCT<u DOUBLE, v TEXT>>,
    t TIMESTAMP, m STRUCT<p INT, q BOOLEAN>[], n INT METADATA FROM 'header.n', o BIGINT METADATA FROM 'offset',
    r BIGINT GENERATED ALWAYS AS (a * 2), s TEXT NOT NULL GENERATED ALWAYS AS (g || 'x'),
    WATERMARK FOR t)";

/// Values of each column of the record: most draws are of the first half of a line.
const VALUES: [(&str, &[&str]); 14] = [
    ("a", &["1", "-7", "0", "9007199254740993", "9223372036854775808", "1.0", "null", "\"1\"", "01"]),
    ("b", &["1", "null", "2147483647", "-0", "2147483648", "-2147483649", "1e3", "[1]"]),
    ("c", &["1", "32767", "null", "-3", "32768", "true", "{}"]),
    ("d", &["1.5", "-0.0", "\"NaN\"", "1e300", "1e999", "\"1.5\"", "-", "1."]),
    ("e", &["12.34", "\"1.5\"", "1e2", "null", "0.001", "99999", "\"x\""]),
    ("f", &["true", "false", "null", "true", "0", "\"true\"", "tru"]),
    ("g", &["\"x\"", "\"\\u00e9\\n\"", "\"y\"", "\"\"", "null", "5", "\"\\ud800\"", "\"open"]),
    ("h", &["{\"k\":[1]}", "5", "null", "\"s\"", "{\"k\":}", "[1,]"]),
    ("i", &["\"aGk=\"", "null", "\"\"", "\"a\\u0047k=\"", "\"a b\"", "7"]),
    ("j", &["\"2026-03-01\"", "null", "\"0001-01-01\"", "\"2026-02-30\"", "1"]),
    ("k", &["[1,null,3]", "[]", "null", "[ 4 ]", "[1,\"2\"]", "[2147483648]", "[1", "1"]),
    (
        "l",
        &[
            "{\"x\":1,\"y\":[\"p\"],\"z\":{\"u\":1.5,\"v\":\"q\"}}",
            "{\"z\":{\"v\":null},\"w\":[{}],\"x\":null}",
            "{}",
            " { \"z\" : null , \"y\" : [] , \"\\u0078\" : 2 } ",
            "null",
            "{\"z\":{\"u\":1,\"u\":2}}",
            "{\"x\":1,\"x\":1}",
            "{\"z\":{\"u\":1e999}}",
            "{\"y\":[1]}",
            "{\"x\":\"1\"}",
            "[]",
        ],
    ),
    (
        "t",
        &["\"2026-03-01T00:00:00Z\"", "1", "1772352000000000", "\"2026-03-01\"", "null", "\"soon\"", "1.5"],
    ),
    ("m", &["[{\"p\":1},{\"q\":true}]", "[null]", "null", "[{\"p\":1,\"p\":2}]", "[{\"q\":1}]", "{}"]),
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 16) as usize % n
    }
}

fn record(dice: &mut Dice) -> String {
    let mut pairs: Vec<String> = Vec::new();
    for (name, values) in VALUES {
        let wild = dice.below(40) == 0;
        let value = values[dice.below(if wild { values.len() } else { values.len().div_ceil(2) })];
        if dice.below(if name == "a" || name == "t" || name == "g" { 80 } else { 12 }) > 0 {
            pairs.push(format!("\"{name}\":{value}"));
        }
    }
    match dice.below(24) {
        0 => pairs.reverse(),
        1 => pairs.push(format!("\"{}\":1", VALUES[dice.below(14)].0)),
        2 => pairs.insert(0, "\"unknown\":{\"a\":[1,{\"b\":2}]}".into()),
        _ => {}
    }
    let text = format!("{{{}}}", pairs.join(if dice.below(8) == 0 { " , " } else { "," }));
    match dice.below(30) {
        0 => text.chars().take(dice.below(text.len())).collect(),
        1 => text.replacen(',', " ", 1),
        2 => format!("{text} x"),
        3 => String::new(),
        _ => text,
    }
}

fn batch(dice: &mut Dice) -> RawBatch {
    let records: Vec<String> = (0..30).map(|_| record(dice)).collect();
    let mut batch = json(&records.iter().map(String::as_str).collect::<Vec<_>>());
    for row in 0..30 {
        let value = ["1", "-5", "1", "x", "3000000000"][dice.below(60).min(dice.below(60)) % 5];
        if dice.below(3) == 0 {
            batch.headers.push(Header { row, name: "n".into(), value: value.into() });
        }
    }
    batch
}

/// Rows of a file: some types fit, some values do not.
fn file(dice: &mut Dice) -> RawBatch {
    let mut longs = |range: usize, miss: usize| -> ArrayRef {
        Arc::new(
            (0..30).map(|_| (dice.below(miss) > 0).then(|| dice.below(range) as i64)).collect::<Int64Array>(),
        )
    };
    let (a, b) = (longs(9, 20), longs(3 << 30, 9));
    let (x, u) = (longs(99, 4), Arc::new(Float64Array::from(vec![0.5; 30])) as ArrayRef);
    let child = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let of = |fields: Vec<(&str, ArrayRef)>| -> ArrayRef {
        let (fields, arrays): (Vec<_>, Vec<_>) = fields.into_iter().map(|(n, a)| (child(n, &a), a)).unzip();
        Arc::new(datafusion::arrow::array::StructArray::new(Fields::from(fields), arrays, None))
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("v"); 30]));
    let y = datafusion::arrow::array::ListArray::new_null(
        Arc::new(Field::new_list_field(DataType::Utf8, true)),
        30,
    );
    let l = of(vec![("x", x), ("y", Arc::new(y)), ("z", of(vec![("u", u), ("v", Arc::clone(&texts))]))]);
    let t = Arc::new(TimestampMillisecondArray::from_iter_values((0..30).map(|n| n << dice.below(50))));
    let c: ArrayRef = match dice.below(4) {
        0 => Arc::new(Float32Array::from(vec![1.0; 30])),
        _ => Arc::new(Int32Array::from(vec![dice.below(40_000) as i32; 30])),
    };
    let columns = [("a", a), ("b", b), ("c", c), ("g", texts), ("l", l), ("t", t as ArrayRef)];
    raw(Payload::Rows(RecordBatch::try_from_iter(columns).unwrap_or_else(|e| panic!("{e}"))), 30)
}

/// Fewer fields of a STRUCT, at least one.
fn fewer(data_type: &DataType, dice: &mut Dice) -> DataType {
    let DataType::Struct(fields) = data_type else { return data_type.clone() };
    let must = dice.below(fields.len());
    let some = fields.iter().enumerate().filter_map(|(n, f)| {
        let inner = fewer(f.data_type(), dice);
        (n == must || dice.below(2) == 0).then(|| Field::new(f.name(), inner, true))
    });
    DataType::Struct(some.collect::<Fields>())
}

fn decoded(table: &TableSpec, reads: &Reads, batches: &[RawBatch]) -> Vec<Decoded> {
    let mut decoder = Decoder::new(table, 7, true, reads).unwrap_or_else(|e| panic!("{e}"));
    let all = |batch: &RawBatch| (0..batch.len() as u32).collect::<Vec<_>>();
    batches.iter().map(|b| decoder.decode(b, &all(b)).unwrap_or_else(|e| panic!("{e}"))).collect()
}

/// Codes and reasons seen, and rows, after holding a subset against the whole.
fn hold(seed: u64) -> Result<(BTreeSet<String>, usize), TestCaseError> {
    let (table, dice) = (table(DDL), &mut Dice(seed));
    let batches = [batch(dice), batch(dice), file(dice), batch(dice)];
    let wanted = table.columns.iter().filter_map(|c| {
        let narrow = fewer(&c.data_type, dice);
        (dice.below(3) == 0).then(|| Field::new(&c.name, narrow, true))
    });
    let schema = Schema::new(wanted.collect::<Vec<_>>());
    let whole = decoded(&table, &Reads::all(&table), &batches);
    let some = decoded(&table, &Reads::of(&table, &schema), &batches);
    let (mut seen, mut rows) = (BTreeSet::new(), 0);
    for (whole, some) in whole.iter().zip(&some) {
        prop_assert_eq!(&whole.records, &some.records);
        prop_assert_eq!(&whole.rejects, &some.rejects);
        for (column, (all, built)) in table.columns.iter().zip(whole.columns.iter().zip(&some.columns)) {
            let all = all.as_ref().ok_or_else(|| TestCaseError::fail("the whole decoder left one out"))?;
            // Event time, and what GENERATED columns are made of, are built whole for the lane.
            let needed = ["a", "g", "t"].contains(&column.name.as_str());
            let wanted = match schema.field_with_name(&column.name) {
                _ if needed => Some(&column.data_type),
                field => field.ok().map(|f| f.data_type()),
            };
            prop_assert_eq!(wanted, built.as_ref().map(|b| b.data_type()), "{}", column.name);
            if let (Some(built), Some(wanted)) = (built, wanted) {
                let all = narrowed(all, wanted).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(&all, built, "{}", column.name);
            }
        }
        seen.extend(whole.rejects.iter().map(|(_, r)| format!("{} {}", r.code, r.reason)));
        rows += whole.records.len();
    }
    Ok((seen, rows))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn fates_are_the_same_whatever_is_read(seed in any::<u64>()) {
        hold(seed)?;
    }
}

/// Else the test above would hold nothing.
#[test]
fn the_records_are_of_every_kind() {
    let (mut seen, mut rows) = (BTreeSet::new(), 0);
    for seed in 0..64 {
        let (reasons, good) = hold(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        seen.extend(reasons);
        rows += good;
    }
    assert!(rows > 2_000, "{rows} rows");
    for reason in [
        "W0101 `a` is NULL and may not be",
        "W0101 `s` is NULL and may not be",
        "W0102 `t` is NULL",
        "W0106 `b`: 2147483648 does not fit INT",
        "W0106 `d`: 1e999 does not fit DOUBLE",
        "W0106 `l`: 1e999 does not fit DOUBLE",
        "W0106 `c` does not fit its type",
        "W0101 `c`: the file has Float32, the table Int16",
        "W0101 `l`: field `u` is given twice",
        "W0101 `l`: field `x` is given twice",
        "W0101 `m`: field `p` is given twice",
        "W0101 `l`: expected an object, found []",
        "W0101 `k`: expected INT, found a string",
        "W0101 `i`: expected BYTEA (base64), found a b",
        "W0101 `n`: expected INT, found x",
        "W0101 byte 0: expected a value, found the end",
    ] {
        assert!(seen.contains(reason), "{reason}\n{seen:#?}");
    }
    assert!(seen.iter().any(|r| r.ends_with("is given twice") && !r.contains("field")), "{seen:#?}");
    assert!(seen.iter().any(|r| r.contains("expected `,` or `}`")), "{seen:#?}");
}
