//! [`Token`]: words, numbers and marks of a text, each with its place.
//!
//! They are cut with `winnow`, which is small, has no dependencies, and is maintained with `toml` and `cargo` on it. The
//! grammar above them is written by hand (in `parser`): combinators would recurse where a text nests, and name what they
//! wanted by their own names. `chumsky` 1.0 is an alpha, `pest` and `logos` bring procedural macros.

use winnow::ascii::{digit0, digit1};
use winnow::combinator::{alt, not, opt};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::LocatingSlice;
use winnow::token::{any, one_of, take_while};

use super::place::{Fault, Span, counted};

/// Characters that a name may have. Longer ones are no names, and would be compared with others.
const MAX_NAME: usize = 64;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    /// An operator, a bracket, or another sign.
    Mark,
    /// The end of a line, or `;`.
    Line,
    /// The end of the text.
    End,
}

/// A part of the text.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) at: Span,
}

type Input<'a> = LocatingSlice<&'a str>;

/// Letters of any alphabet begin a name; digits, also small ones below the line, go on.
fn name<'a>(input: &mut Input<'a>) -> Result<&'a str, EmptyError> {
    let starts = |c: char| c.is_alphabetic() || c == '_';
    let goes_on = move |c: char| starts(c) || c.is_ascii_digit() || ('₀'..='₉').contains(&c);
    (one_of(starts), take_while(0.., goes_on)).take().parse_next(input)
}

/// `1`, `1.5`, `.5`, `1e-3`; not the `1.` of `1..3`.
fn number<'a>(input: &mut Input<'a>) -> Result<&'a str, EmptyError> {
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    let mantissa = alt(((digit1, opt(('.', not('.'), digit0))).take(), ('.', digit1).take()));
    (mantissa, opt(exponent)).take().parse_next(input)
}

fn mark<'a>(input: &mut Input<'a>) -> Result<&'a str, EmptyError> {
    let single = one_of(['+', '-', '*', '/', '^', '(', ')', '[', ']', ',', '=', '\'', '~']).take();
    alt(("..", single)).parse_next(input)
}

/// Spaces and a comment.
fn blank<'a>(input: &mut Input<'a>) -> Result<&'a str, EmptyError> {
    let space = take_while(0.., |c: char| c != '\n' && (c.is_whitespace() || c == '\u{feff}'));
    (space, opt(('#', take_while(0.., |c| c != '\n')))).take().parse_next(input)
}

fn token<'a>(input: &mut Input<'a>) -> Result<(Kind, &'a str), EmptyError> {
    alt((
        number.map(|text| (Kind::Number, text)),
        name.map(|text| (Kind::Name, text)),
        mark.map(|text| (Kind::Mark, text)),
        alt(("\n", ";")).map(|text| (Kind::Line, text)),
    ))
    .parse_next(input)
}

/// The tokens of a text, of which the last one is its end. Within brackets, lines have no end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut input = LocatingSlice::new(text);
    let mut tokens = Vec::new();
    let mut open = 0_usize;
    loop {
        let _ = blank.parse_next(&mut input);
        if input.is_empty() {
            break;
        }
        let Ok(((kind, text), at)) = token.with_span().parse_next(&mut input) else {
            let (c, at) = any::<_, EmptyError>.with_span().parse_next(&mut input).unwrap_or((' ', 0..0));
            return Err(Fault::new(&at, format!("`{}` means nothing here{}", c.escape_debug(), instead(c))));
        };
        let letters = text.chars().count();
        if kind == Kind::Name && letters > MAX_NAME {
            return Err(Fault::new(&at, format!("a name of {}: use {MAX_NAME} at most", counted(letters, "letter"))));
        }
        match text {
            "(" | "[" => open += 1,
            ")" | "]" => open = open.saturating_sub(1),
            "\n" if open > 0 => continue,
            _ => {}
        }
        tokens.push(Token { kind, text, at });
    }
    tokens.push(Token { kind: Kind::End, text: "", at: text.len()..text.len() });
    Ok(tokens)
}

/// Whether a text is a name.
pub(super) fn is_name(text: &str) -> bool {
    tokens(text).is_ok_and(|tokens| matches!(&tokens[..], [token, _] if token.kind == Kind::Name && token.text == text))
}

/// What to write for a character that another program wrote.
fn instead(c: char) -> &'static str {
    match c {
        '×' | '·' | '⋅' | '∙' => ": write `*`",
        '−' | '–' => ": write `-`",
        '÷' => ": write `/`",
        '′' | '’' | '‘' | '`' | '"' => ": a derivative is written `y' = ...`",
        '²' | '³' => ": powers are written `y^2`",
        '{' | '}' => ": brackets are `(` and `[`",
        '√' => ": write `sqrt(...)`",
        '%' | '!' | '\\' => ": comments begin with `#`",
        ':' => ": definitions are written `let name = ...`",
        _ => "",
    }
}
