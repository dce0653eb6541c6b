//! What goes to stdout and to stderr.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use indicatif::ProgressBar;

/// The bar on the terminal, if there is one: lines are written above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes `text` to stdout. A reader that has gone away, as `head` does, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(harmless(text).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Writes a line to stderr. Where stderr is closed there is nobody to tell.
pub(crate) fn note(line: &str) {
    let write = || {
        let _ = writeln!(std::io::stderr(), "{}", harmless(line));
    };
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says which bar is on the terminal from here on.
pub(crate) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// The text with everything escaped by which a file's contents or name could move the cursor, colour the screen or turn
/// the order of letters: as `\u001b`, which is what JSON's strings would have too.
fn harmless(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (c.is_control() && !matches!(c, '\n' | '\t')) || turns
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(harmless("a\tb\nü ±"), "a\tb\nü ±", "text stays");
        assert_eq!(harmless("\u{1b}[2J\r\u{9b}1m\u{7f}\u{202e}"), r"\u001b[2J\u000d\u009b1m\u007f\u202e", "the rest");
        let json = harmless("{\"name\": \"\u{9b}\"}").into_owned();
        let value: serde_json::Value = serde_json::from_str(&json).expect("still JSON");
        assert_eq!(value["name"], "\u{9b}", "with the same meaning");
    }
}
