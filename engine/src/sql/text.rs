//! Places in a script: from sqlparser's tokens and messages to `file:line:column`.
//!
//! In:   a file's text and its tokens.
//! Out:  statements as slices of tokens, places, syntax errors.
//! Owns: no meaning; only where things stand. Lines and columns are 1-based; a column counts characters.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};
use weir_contract::{Code, Error, Place, Result};

use super::dialect::WeirDialect;

static DIALECT: WeirDialect = WeirDialect;

/// A file that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
    pub folder: &'a str,
}

/// One statement: its tokens without the semicolon; never without a token that is not blank.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    pub source: Source<'a>,
    pub tokens: Vec<TokenWithSpan>,
}

impl<'a> Source<'a> {
    pub fn place(&self, at: Location) -> Place {
        Place::Script { file: self.name.into(), line: at.line.max(1), column: at.column.max(1) }
    }

    /// Splits at semicolons. A text that has no tokens at all (an open string) is one error.
    pub fn pieces(self) -> Result<Vec<Piece<'a>>> {
        let tokens = Tokenizer::new(&DIALECT, self.text)
            .tokenize_with_location()
            .map_err(|e| Error::new(Code::Syntax, e.message).at(self.place(e.location)))?;
        let blank = |t: &TokenWithSpan| matches!(t.token, Token::Whitespace(_) | Token::EOF);
        Ok(tokens
            .split(|t| t.token == Token::SemiColon)
            .filter(|piece| !piece.iter().all(blank))
            .map(|piece| {
                let start = piece.iter().position(|t| !blank(t)).unwrap_or(0);
                let end = piece.iter().rposition(|t| !blank(t)).map_or(piece.len(), |i| i + 1);
                Piece { source: self, tokens: piece[start..end].to_vec() }
            })
            .collect())
    }

    fn byte_of(&self, at: Location) -> usize {
        let mut line_start = 0;
        for _ in 1..at.line {
            match self.text[line_start..].find('\n') {
                Some(end) => line_start += end + 1,
                None => return self.text.len(),
            }
        }
        let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
        self.text[line_start..]
            .char_indices()
            .nth(column)
            .map_or(self.text.len(), |(offset, _)| line_start + offset)
    }
}

impl<'a> Piece<'a> {
    pub fn span(&self) -> Span {
        let first = self.tokens.first().map_or(Span::empty(), |t| t.span);
        let last = self.tokens.last().map_or(Span::empty(), |t| t.span);
        Span::new(first.start, last.end)
    }

    /// Where the statement begins.
    pub fn place(&self) -> Place {
        self.source.place(self.span().start)
    }

    /// The statement as written, without the semicolon.
    pub fn text(&self) -> &'a str {
        let span = self.span();
        let (from, to) = (self.source.byte_of(span.start), self.source.byte_of(span.end));
        self.source.text.get(from..to).unwrap_or_default()
    }

    pub fn parser(&self) -> Parser<'static> {
        Parser::new(&DIALECT).with_tokens_with_locations(self.tokens.clone())
    }

    /// Place of the parser's next token; behind the last one at the end.
    pub fn here(&self, parser: &Parser) -> Place {
        let next = parser.peek_token();
        self.source.place(if next.token == Token::EOF { self.span().end } else { next.span.start })
    }

    /// "expected X, found Y" at the parser's next token.
    pub fn unexpected(&self, parser: &Parser, expected: impl Into<String>) -> Error {
        let next = parser.peek_token();
        let found = if next.token == Token::EOF {
            "the statement ends here".to_owned()
        } else {
            format!("cannot read `{}` here", next.token)
        };
        Error::new(Code::Syntax, found).at(self.here(parser)).expected(expected)
    }

    /// A sqlparser error with its place taken out of the message.
    pub fn syntax(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Error::new(Code::Syntax, "the statement is nested too deep").at(self.place());
            }
        };
        let (message, at) = match message.rfind(" at Line: ") {
            Some(cut) => {
                let mut numbers =
                    message[cut..].split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok());
                match (numbers.next(), numbers.next()) {
                    (Some(line), Some(column)) if line > 0 => (&message[..cut], Location { line, column }),
                    _ => (&message[..cut], self.span().end),
                }
            }
            None => (message.as_str(), self.span().end),
        };
        let place = self.source.place(at);
        let rest = message.strip_prefix("Expected").map(|m| m.strip_prefix(':').unwrap_or(m).trim_start());
        match rest.and_then(|m| m.split_once(", found: ")) {
            Some((expected, "EOF")) => {
                Error::new(Code::Syntax, "the statement ends here").at(place).expected(expected)
            }
            Some((expected, found)) => {
                Error::new(Code::Syntax, format!("cannot read `{found}` here")).at(place).expected(expected)
            }
            None => Error::new(Code::Syntax, message).at(place),
        }
    }
}

/// Whether a token is this word, unquoted, whatever its case.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Takes the next token if it is this word.
pub(super) fn take_word(parser: &mut Parser, word: &str) -> bool {
    let found = is_word(&parser.peek_token_ref().token, word);
    if found {
        parser.advance_token();
    }
    found
}
