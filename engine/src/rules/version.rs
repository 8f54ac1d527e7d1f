//! The text of a statement without what does not change its meaning.
//!
//! In:   the statement as written.
//! Out:  its tokens with one blank between them: no comments, no line breaks, words outside quotes in lower
//!       case, no `;` at the end.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Normalises a statement. A text that has no tokens of SQL (the parser would have refused it) stays as
/// it is.
pub fn normalised(text: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false).tokenize() else {
        return text.trim().to_owned();
    };
    let mut out = String::with_capacity(text.len());
    for token in tokens {
        let shown = match token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            other => other.to_string(),
        };
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&shown);
    }
    while let Some(rest) = out.strip_suffix(';') {
        out.truncate(rest.trim_end().len());
    }
    out
}
