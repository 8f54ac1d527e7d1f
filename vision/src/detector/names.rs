//! What a model's classes are called.
//!
//! In:   the setting `names`; the model's metadata `names`; `x.names.json` beside `x.onnx`. In this order.
//! Out:  names by index.
//!
//! A list, or a dictionary by index, as JSON or as Python prints it (Ultralytics writes `{0: 'person'}`).

use std::path::Path;
use std::sync::Arc;

use weir_contract::{Code, Error, Result};

use super::engine::{Facts, bad};
use super::{Settings, at, read};

/// Open Images has 601; eyeballed.
const NAMES_MAX: usize = 10_000;
const SIDECAR_BYTES_MAX: u64 = 1 << 20;
const EXPECTED: &str = "a list of names, or a dictionary by index from 0 without a gap";

pub fn find(settings: &Settings, facts: &Facts) -> Result<Vec<Arc<str>>> {
    let beside = settings.path.with_extension("names.json");
    if let Some(path) = &settings.names {
        return sidecar(path);
    }
    if let Some(text) = facts.metadata.get("names") {
        return parse(text).ok_or_else(|| bad("its metadata `names` cannot be read", EXPECTED));
    }
    if beside.exists() {
        return sidecar(&beside);
    }
    let what = format!("it does not name its classes, and there is no {}", beside.display());
    Err(bad(what, "`names` in the model's metadata, or a JSON list in that file"))
}

fn sidecar(path: &Path) -> Result<Vec<Arc<str>>> {
    let text = String::from_utf8(read(path, SIDECAR_BYTES_MAX)?).ok();
    let names = text.as_deref().and_then(parse);
    names.ok_or_else(|| Error::new(Code::BadModel, "names cannot be read").at(at(path)).expected(EXPECTED))
}

/// `None` where the text is neither, an index is missing, or a name is empty.
pub fn parse(text: &str) -> Option<Vec<Arc<str>>> {
    let pairs = match serde_json::from_str(text) {
        Ok(value) => json(value)?,
        Err(_) => python(text)?,
    };
    let count = pairs.len();
    let mut names: Vec<Option<Arc<str>>> = vec![None; count];
    for (index, name) in pairs {
        let slot = names.get_mut(index)?;
        if slot.is_some() || name.is_empty() {
            return None;
        }
        *slot = Some(name.into());
    }
    let names: Option<Vec<Arc<str>>> = names.into_iter().collect();
    names.filter(|n| (1..=NAMES_MAX).contains(&n.len()))
}

fn json(value: serde_json::Value) -> Option<Vec<(usize, String)>> {
    use serde_json::Value;
    match value {
        Value::Array(list) => {
            list.into_iter().enumerate().map(|(i, v)| Some((i, v.as_str()?.to_owned()))).collect()
        }
        Value::Object(mut object) => match object.remove("names") {
            Some(inner) if !inner.is_string() => json(inner),
            Some(_) => None,
            None => {
                object.into_iter().map(|(k, v)| Some((k.parse().ok()?, v.as_str()?.to_owned()))).collect()
            }
        },
        _ => None,
    }
}

/// `{0: 'person', 1: "driver's cab"}` or `['a', 'b']`.
fn python(text: &str) -> Option<Vec<(usize, String)>> {
    let text = text.trim();
    let keyed = text.starts_with('{');
    let (open, close) = if keyed { ('{', '}') } else { ('[', ']') };
    let mut rest = text.strip_prefix(open)?.strip_suffix(close)?.trim();
    let mut pairs = Vec::new();
    while !rest.is_empty() && pairs.len() <= NAMES_MAX {
        let mut index = pairs.len();
        if keyed {
            let (key, behind) = rest.split_once(':')?;
            index = key.trim().parse().ok()?;
            rest = behind.trim_start();
        }
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut name = String::new();
        let mut end = None;
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match (escaped, c) {
                (true, '\'' | '"' | '\\') => name.push(c),
                // Control characters and code points: nobody names a class so.
                (true, _) => return None,
                (false, '\\') => {}
                (false, c) if c == quote => {
                    end = Some(at + 1);
                    break;
                }
                (false, c) => name.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        rest = rest.get(end?..)?.trim_start();
        pairs.push((index, name));
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_as_they_are_written() {
        for (text, want) in [
            (r#"["a", "b c"]"#, vec!["a", "b c"]),
            (r#"{"0": "a", "1": "b"}"#, vec!["a", "b"]),
            (r#"{"names": {"1": "b", "0": "a"}}"#, vec!["a", "b"]),
            (r#"{"names": ["a"]}"#, vec!["a"]),
            (
                "{0: 'person', 1: \"driver's cab\", 10: 'x', 2: 'c', 3: 'd', 4: 'e', 5: 'f', 6: 'g', 7: 'h', 8: 'i', 9: 'j'}",
                vec!["person", "driver's cab", "c", "d", "e", "f", "g", "h", "i", "j", "x"],
            ),
            (r"{0: 'it\'s', 1: 'a, b: {c}'}", vec!["it's", "a, b: {c}"]),
            ("['a', 'ä',]", vec!["a", "ä"]),
        ] {
            let found = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found.iter().map(|n| &**n).collect::<Vec<_>>(), want, "{text}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "x",
            "[1]",
            "[\"\"]",
            r#"{"0": "a", "2": "b"}"#,
            "{0: 'a', 0: 'b'}",
            "{0: 'a' 1: 'b'}",
            "{0: 'a",
            "{0: a}",
            r#"{"names": "a"}"#,
            r"['\u0061']",
            "{-1: 'a'}",
            "{'a'}",
            "{0: 'a'}}",
            "[[]]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
