//! Values in, columns or reasons out; and what Arrow's own JSON decoder would have let through.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, StringViewArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;

use super::{Decoded, Decoder, Reads};
use crate::source::{Header, NO_APPEND, Payload, RawBatch};
use crate::sql::catalog::TableSpec;
use crate::sql::{SourceFile, read};

mod subsets;

fn whole(table: &TableSpec) -> weir_contract::Result<Decoder> {
    Decoder::new(table, 7, true, &Reads::all(table))
}

fn table(ddl: &str) -> TableSpec {
    let file = SourceFile { name: "t.sql".into(), folder: String::new(), text: ddl.into() };
    read(&[file]).unwrap_or_else(|e| panic!("{}", e[0])).tables.remove(0)
}

fn raw(payload: Payload, rows: usize) -> RawBatch {
    RawBatch {
        offsets: (100..100 + rows as i64).collect(),
        append_us: vec![1_772_352_000_000_000; rows],
        payload,
        keys: Some(BinaryArray::from_iter(
            (0..rows).map(|i| (i != 1).then(|| format!("key{i}").into_bytes())),
        )),
        headers: Vec::new(),
    }
}

fn json(records: &[&str]) -> RawBatch {
    raw(Payload::Bytes(BinaryArray::from_iter_values(records)), records.len())
}

fn decode(ddl: &str, raw: &RawBatch) -> Decoded {
    let mut decoder = whole(&table(ddl)).unwrap_or_else(|e| panic!("{e}"));
    let wanted: Vec<u32> = (0..raw.len() as u32).collect();
    decoder.decode(raw, &wanted).unwrap_or_else(|e| panic!("{e}"))
}

/// One line a record: its values without the event time, or code and reason.
fn show(decoded: &Decoded) -> String {
    let mut lines: Vec<(u32, String)> = Vec::new();
    for (row, record) in decoded.records.iter().enumerate() {
        let value = |c: &ArrayRef| match c.is_null(row) {
            true => "NULL".to_owned(),
            false => array_value_to_string(c, row).unwrap_or_else(|e| panic!("{e}")),
        };
        let columns = &decoded.columns[..decoded.columns.len() - 1];
        let values: Vec<String> = columns.iter().flatten().map(value).collect();
        lines.push((*record, format!("{record}: {}\n", values.join(" | "))));
    }
    lines.extend(decoded.rejects.iter().map(|(r, why)| (*r, format!("{r}: {} {}\n", why.code, why.reason))));
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

const T: &str = "t TIMESTAMP METADATA FROM 'timestamp', WATERMARK FOR t";

#[track_caller]
fn check(columns: &str, records: &[&str], want: &str) {
    let got = show(&decode(&format!("CREATE TABLE x ({columns}, {T})"), &json(records)));
    assert!(got == want, "--- got\n{got}--- want\n{want}");
}

#[test]
fn integers_are_whole_and_in_range() {
    check(
        "a SMALLINT, b INT, c BIGINT",
        &[
            r#"{"a":-32768,"b":2147483647,"c":-9223372036854775808}"#,
            r#"{"a":32768}"#,
            r#"{"b":2147483648}"#,
            r#"{"c":9223372036854775808}"#,
            r#"{"c":1.0}"#,
            r#"{"c":1e3}"#,
            r#"{"c":"5"}"#,
            r#"{"c":true}"#,
            r#"{"c":[1]}"#,
            r#"{"c":null, "z":{"deep":[1,{}]}}"#,
            r#"{"c":1,"c":2}"#,
            r#"{"z":1,"z":2}"#,
        ],
        "0: -32768 | 2147483647 | -9223372036854775808
1: W0106 `a`: 32768 does not fit SMALLINT
2: W0106 `b`: 2147483648 does not fit INT
3: W0106 `c`: 9223372036854775808 does not fit BIGINT
4: W0101 `c`: expected BIGINT, found 1.0
5: W0101 `c`: expected BIGINT, found 1e3
6: W0101 `c`: expected BIGINT, found a string
7: W0101 `c`: expected BIGINT, found true
8: W0101 `c`: expected BIGINT, found [1]
9: NULL | NULL | NULL
10: W0101 `c` is given twice
11: NULL | NULL | NULL
",
    );
}

#[test]
fn other_scalars() {
    check(
        "a DOUBLE, b DECIMAL(5, 2), c BOOLEAN, d BYTEA, e DATE, f TEXT",
        &[
            r#"{"a":1.5e1,"b":-12.3,"c":false,"d":"aGk=","e":"2026-03-01","f":"\u00e9\n\"x"}"#,
            r#"{"a":"NaN","b":"999.99"}"#,
            r#"{"a":"-Infinity","b":1e2}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"1.5"}"#,
            r#"{"b":1000}"#,
            r#"{"b":"1x"}"#,
            r#"{"c":0}"#,
            r#"{"d":"a b"}"#,
            r#"{"e":"2026-02-29"}"#,
            r#"{"e":"2026-03-01T00:00"}"#,
            r#"{"f":5}"#,
        ],
        "0: 15.0 | -12.30 | false | 6869 | 2026-03-01 | é\n\"x
1: NaN | 999.99 | NULL | NULL | NULL | NULL
2: -inf | 100.00 | NULL | NULL | NULL | NULL
3: W0106 `a`: 1e999 does not fit DOUBLE
4: W0101 `a`: expected DOUBLE, found 1.5
5: W0106 `b`: 1000 does not fit DECIMAL
6: W0101 `b`: expected DECIMAL, found 1x
7: W0101 `c`: expected BOOLEAN, found 0
8: W0101 `d`: expected BYTEA (base64), found a b
9: W0101 `e`: expected DATE, found 2026-02-29
10: W0101 `e`: expected DATE, found 2026-03-01T00:00
11: W0101 `f`: expected TEXT, found 5
",
    );
}

#[test]
fn timestamps_come_as_text_or_integers() {
    let records = [
        r#"{"a":"2026-03-01T08:00:00.123456789+01:00"}"#,
        r#"{"a":"2026-03-01 08:00"}"#,
        r#"{"a":1772352000123}"#,
        r#"{"a":"soon"}"#,
        r#"{"a":9223372036854775807}"#,
        r#"{"a":1.5}"#,
        r#"{"a":"9999-12-31T23:59:59-01:00"}"#,
    ];
    let tail = "3: W0101 `a`: expected TIMESTAMP, found soon
4: W0106 `a`: 9223372036854775807 does not fit TIMESTAMP
5: W0101 `a`: expected TIMESTAMP, found 1.5
6: W0106 `a`: 9999-12-31T23:59:59-01:00 does not fit TIMESTAMP
";
    let head = "0: 2026-03-01T07:00:00.123456\n1: 2026-03-01T08:00:00\n2: ";
    check("a TIMESTAMP", &records, &format!("{head}1970-01-21T12:19:12.000123\n{tail}"));
    let ms = format!("CREATE TABLE x (a TIMESTAMP, {T}) WITH (timestamp_unit = 'ms')");
    assert_eq!(show(&decode(&ms, &json(&records))), format!("{head}2026-03-01T08:00:00.123\n{tail}"));
}

#[test]
fn nested_columns_and_raw_json() {
    check(
        "a INT[], b STRUCT<x BIGINT, y TEXT[]>, c JSON",
        &[
            r#"{"a":[1,null,3],"b":{"y":["p","q\t"],"w":0,"x":5},"c":{"k": [1,  2]}}"#,
            r#"{"a":[],"b":{},"c":"s"}"#,
            r#"{"a":null,"b":null,"c":null}"#,
            r#"{"a":[1,"2"]}"#,
            r#"{"b":{"x":1,"x":2}}"#,
            r#"{"b":[]}"#,
            r#"{"c": 1.50 }"#,
        ],
        "0: [1, , 3] | {x: 5, y: [p, q\t]} | {\"k\": [1,  2]}
1: [] | {x: , y: } | \"s\"
2: NULL | NULL | NULL
3: W0101 `a`: expected INT, found a string
4: W0101 `b`: field `x` is given twice
5: W0101 `b`: expected an object, found []
6: NULL | NULL | 1.50
",
    );
}

#[test]
fn broken_records_do_not_touch_their_neighbours() {
    check(
        "a INT NOT NULL",
        &[
            r#"{"a":1"#,
            r#","b":2}"#,
            r#"{"a":1}{"a":2}"#,
            r#" {"a" : 3 } "#,
            r#"{"a":4 "b":5}"#,
            "[{\"a\":1}]",
            "",
            "{}",
            r#"{"a":null}"#,
            r#"{"\u0061":9}"#,
            r#"{"a":99999999999,"b":}"#,
        ],
        "0: W0101 byte 6: expected `,` or `}`, found the end
1: W0101 byte 0: expected a value, found `,`
2: W0101 byte 7: expected the end of the record, found `{`
3: 3
4: W0101 byte 7: expected `,` or `}`, found `\\\"`
5: W0101 byte 0: expected an object, found `[`
6: W0101 byte 0: expected a value, found the end
7: W0101 `a` is NULL and may not be
8: W0101 `a` is NULL and may not be
9: 9
10: W0101 byte 21: expected a value, found `}`
",
    );
    let bytes = BinaryArray::from_iter([Some(&b"{\"a\":\"\xff\"}"[..]), None]);
    let got = show(&decode(&format!("CREATE TABLE x (a TEXT, {T})"), &raw(Payload::Bytes(bytes), 2)));
    assert_eq!(got, "0: W0101 byte 6: not UTF-8\n1: W0101 the record has no value\n");
}

/// Why this module exists: each of these would be a silent change of a value.
#[test]
fn arrows_decoder_forgives_what_is_refused_here() {
    let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, true)]));
    let decode_arrow = |parts: &[&str]| -> Option<Vec<i64>> {
        let mut decoder =
            datafusion::arrow::json::ReaderBuilder::new(Arc::clone(&schema)).build_decoder().ok()?;
        for part in parts {
            decoder.decode(part.as_bytes()).ok()?;
        }
        let batch = decoder.flush().ok()??;
        Some(batch.column(0).as_any().downcast_ref::<Int64Array>()?.values().to_vec())
    };
    assert_eq!(decode_arrow(&[r#"{"c":"5"}"#]), Some(vec![5]), "text is a number");
    assert_eq!(decode_arrow(&[r#"{"c":1.7}"#]), Some(vec![1]), "a fraction is cut");
    assert_eq!(decode_arrow(&[r#"{"c":1 "d":2}"#]), Some(vec![1]), "a comma is missing");
    assert_eq!(decode_arrow(&[r#"{"c":1"#, r#","d":2}"#]), Some(vec![1]), "two records are one");
    check(
        "c BIGINT",
        &[r#"{"c":"5"}"#, r#"{"c":1.7}"#, r#"{"c":1 "d":2}"#, r#"{"c":1"#, r#","d":2}"#, r#"{"c":8}"#],
        "0: W0101 `c`: expected BIGINT, found a string
1: W0101 `c`: expected BIGINT, found 1.7
2: W0101 byte 7: expected `,` or `}`, found `\\\"`
3: W0101 byte 6: expected `,` or `}`, found the end
4: W0101 byte 0: expected a value, found `,`
5: 8
",
    );
}

#[test]
fn metadata_and_generated_columns() {
    let ddl = "CREATE TABLE x (a BIGINT, o BIGINT METADATA FROM 'offset_id', p INT METADATA FROM 'partition',
        tp TEXT METADATA FROM 'topic', k TEXT METADATA FROM 'key', w INT METADATA FROM 'header.width',
        g BIGINT GENERATED ALWAYS AS (a / (a - 1)) STORED, h TEXT NOT NULL GENERATED ALWAYS AS (k || tp),
        t TIMESTAMP METADATA FROM 'timestamp', WATERMARK FOR t) WITH (topic = 'floor')";
    let mut batch = json(&[r#"{"a":3,"o":1}"#, r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#, r#"{"a":1}"#]);
    let header = |row: u32, name: &str, value: &str| Header { row, name: name.into(), value: value.into() };
    batch.headers = vec![
        header(0, "height", "9"),
        header(0, "width", "640"),
        header(2, "width", "1"),
        header(2, "width", "2"),
        header(3, "width", "x"),
        header(4, "width", "3000000000"),
    ];
    assert_eq!(
        show(&decode(ddl, &batch)),
        "0: 3 | 100 | 7 | floor | key0 | 640 | 1 | key0floor
1: W0101 `h` is NULL and may not be
2: 1 | 102 | 7 | floor | key2 | 2 | NULL | key2floor
3: W0101 `w`: expected INT, found x
4: W0106 `w`: 3000000000 does not fit INT
"
    );
    batch.append_us[0] = NO_APPEND;
    assert!(show(&decode(ddl, &batch)).starts_with("0: W0102 `t` is NULL\n"));
    for (expr, code) in [("now()", "W0210"), ("b + 1", "W0202"), ("random()", "W0210")] {
        let ddl = format!("CREATE TABLE x (a TEXT, g TEXT GENERATED ALWAYS AS ({expr}), {T})");
        let error = whole(&table(&ddl)).err().map(|e| (e.code().to_string(), e.place().cloned()));
        let (found, place) = error.expect("refused");
        assert_eq!((found.as_str(), place.is_some()), (code, true), "{expr}");
    }
}

#[test]
fn rows_of_files_are_cast_by_name() {
    let ddl = format!(
        "CREATE TABLE x (a INT, b DOUBLE, c TEXT NOT NULL, d TIMESTAMP, e TEXT, o BIGINT METADATA FROM 'offset', {T})"
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("d", Arc::new(TimestampNanosecondArray::from(vec![1_001, 2_999, 3_000]).with_timezone("+02:00"))),
        ("unknown", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("b", Arc::new(Float32Array::from(vec![0.5, 1.5, 2.5]))),
        ("a", Arc::new(Int64Array::from(vec![Some(5), Some(1 << 40), None]))),
        ("c", Arc::new(StringViewArray::from(vec!["x", "y", "z"]))),
        ("e", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("p"), None, Some("p")]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap_or_else(|e| panic!("{e}"));
    let rows = |batch: RecordBatch| raw(Payload::Rows(batch), 3);
    assert_eq!(
        show(&decode(&ddl, &rows(batch.clone()))),
        "0: 5 | 0.5 | x | 1970-01-01T00:00:00.000001 | p | 100
1: W0106 `a` does not fit its type
2: NULL | 2.5 | z | 1970-01-01T00:00:00.000003 | p | 102
"
    );
    let swap = |name: &str, array: ArrayRef| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(f, c)| {
            let c = if f.name() == name { Arc::clone(&array) } else { Arc::clone(c) };
            (f.name().clone(), c)
        });
        rows(RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}")))
    };
    let fractions = decode(&ddl, &swap("a", Arc::new(Float64Array::from(vec![1.0, 1.5, 2.0]))));
    assert_eq!((fractions.records.len(), fractions.rejects.len()), (0, 3));
    assert_eq!(fractions.rejects[2].1.reason, "`a`: the file has Float64, the table Int32");
    let texts = decode(&ddl, &swap("a", Arc::new(StringArray::from(vec!["1", "2", "3"]))));
    assert_eq!(texts.rejects.len(), 3, "text is not read as a number");
    let far = TimestampMillisecondArray::from(vec![Some(0), Some(i64::MAX / 1000), None]);
    let far = decode(&ddl, &swap("d", Arc::new(far)));
    assert_eq!(show(&far).lines().map(|l| &l[..7]).collect::<Vec<_>>(), ["0: 5 | ", "1: W010", "2: NULL"]);
    assert_eq!(
        batch.schema().field(0).data_type(),
        &DataType::Timestamp(TimeUnit::Nanosecond, Some("+02:00".into()))
    );
}

#[test]
fn raw_bytes_are_a_column_and_headers_are_the_others() {
    let ddl = "CREATE TABLE x (id TEXT NOT NULL METADATA FROM 'header.id', image BYTEA,
        w INT METADATA FROM 'header.w', big BOOLEAN GENERATED ALWAYS AS (w > 100),
        at TIMESTAMP NOT NULL METADATA FROM 'header.at', WATERMARK FOR at) WITH (format = 'raw_bytes')";
    // No UTF-8, JSON, nothing, no bytes, and five whose headers are wrong.
    let values: [Option<&[u8]>; 9] = [
        Some(&[0xff, 0xd8, 0]),
        Some(b"{\"id\":\"own\"}"),
        None,
        Some(b""),
        Some(b"5"),
        Some(b"6"),
        Some(b"7"),
        Some(b"8"),
        Some(b"9"),
    ];
    let mut batch = raw(Payload::Bytes(BinaryArray::from_iter(values)), 9);
    let mut put = |row: u32, name: &str, value: &[u8]| {
        batch.headers.push(Header { row, name: name.into(), value: value.into() });
    };
    for row in 0..4 {
        put(row, "id", b"a");
        put(row, "at", b"2026-03-01T00:00:01Z");
        put(row, "w", if row == 0 { b"640" } else { b"64" });
        put(row, "unknown", b"\xff");
    }
    put(4, "at", b"2026-03-01T00:00:01Z");
    for (row, name, value) in
        [(5, "at", "yesterday"), (6, "w", "6.5"), (7, "w", "99999999999"), (8, "id", "b")]
    {
        put(row, "id", b"b");
        if name != "at" && row != 8 {
            put(row, "at", b"2026-03-01T00:00:01Z");
        }
        put(row, name, value.as_bytes());
    }
    assert_eq!(
        show(&decode(ddl, &batch)),
        "0: a | ffd800 | 640 | true
1: a | 7b226964223a226f776e227d | 64 | false
2: a | NULL | 64 | false
3: a | NULL | 64 | false
4: W0101 `id` is NULL and may not be
5: W0101 `at`: expected TIMESTAMP, found yesterday
6: W0101 `w`: expected INT, found 6.5
7: W0106 `w`: 99999999999 does not fit INT
8: W0102 `at` is NULL
"
    );
    // A value that nobody reads is not copied, and the fates stay.
    let table = table(ddl);
    let narrow = Schema::new(vec![Field::new("w", DataType::Int32, true)]);
    let mut decoder =
        Decoder::new(&table, 7, true, &Reads::of(&table, &narrow)).unwrap_or_else(|e| panic!("{e}"));
    let few = decoder.decode(&batch, &(0..9).collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"));
    assert!(few.columns[1].is_none());
    assert_eq!((few.records, few.rejects.len()), (vec![0, 1, 2, 3], 5));
}
