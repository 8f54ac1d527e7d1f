//! The nearest known name to an unknown one, for "did you mean".
//!
//! In:   a word and the names that would have been right.
//! Out:  at most one of them.
//! Owns: the distance (Damerau-Levenshtein, optimal string alignment) and when it is near enough.

/// Single-character edits (insert, delete, replace, swap of neighbours) between two words, case
/// ignored. Costs the product of the lengths.
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let width = b.len() + 1;
    let mut table: Vec<usize> = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = |i: usize, j: usize| table[i * width + j];
            let best = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let differ = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (at(i - 1, j) + 1).min(at(i, j - 1) + 1).min(at(i - 1, j - 1) + differ);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(at(i - 2, j - 2) + 1);
                }
                best
            };
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

/// The nearest of `known`, where at most a third of the longer word's letters (at least one) differ; the
/// first of equals.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(d, name)| *d <= (word.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// What to put behind "expected": the nearest name, else all of them.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(name) => format!("{name} (did you mean that?)"),
        None => {
            let names: Vec<&str> = known.into_iter().collect();
            if names.is_empty() { "nothing of this kind is declared".into() } else { names.join(", ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("topic", "topic", 0),
            ("tpoic", "topic", 1),
            ("topics", "topic", 1),
            ("", "abc", 3),
            ("Idle_After", "idle_after", 0),
            ("idle_aftre", "idle_after", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["fire_after", "clear_after", "key"];
        assert_eq!(nearest("fireafter", known), Some("fire_after"));
        assert_eq!(nearest("kye", known), Some("key"));
        assert_eq!(nearest("suppress", known), None);
        assert_eq!(suggest("zzz", ["a1", "b2"]), "a1, b2");
    }
}
