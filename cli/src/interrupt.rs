//! Ctrl-C ends the current step, not the program.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// What a shell reports for a program that Ctrl-C ended.
pub(crate) const EXIT_CODE: u8 = 130;

/// Whether the user asked to stop: a signal is of the whole process.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// A command that ended because the user asked for it; says what is left and how to go on.
#[derive(Debug, thiserror::Error)]
#[error("interrupted{0}")]
pub(crate) struct Interrupted(String);

impl Interrupted {
    /// While there is nothing to go on with.
    fn before_the_first_step() -> Self {
        Self(" before a step was made: there is nothing to go on with".to_owned())
    }

    /// With a checkpoint of the last step in the folder `out`.
    pub(crate) fn after_writing(checkpoint: &Path, out: &Path) -> Self {
        Self(format!("; {} is written. To go on:\n  {}", checkpoint.display(), resume_command(out)))
    }

    /// Between two runs, or before one has come further than its checkpoint; `kept` says whether `out` holds any.
    pub(crate) fn between_steps(out: &Path, kept: bool) -> Self {
        if !kept {
            return Self::before_the_first_step();
        }
        Self(format!("; what was reached before is kept. To go on:\n  {}", resume_command(out)))
    }
}

/// Catches Ctrl-C and termination from here on. A second one ends the program at once: a step may be long.
pub(crate) fn catch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT_CODE));
        }
    })
    .context("cannot catch Ctrl-C")
}

pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Ends the command if that was asked for while nothing was there to be kept.
pub(crate) fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted::before_the_first_step()) } else { Ok(()) }
}

/// The command line that goes on with this one in its folder, quoted for a shell.
pub(crate) fn resume_command(out: &Path) -> String {
    resume_command_of(std::env::args_os(), out)
}

fn resume_command_of(args: impl Iterator<Item = OsString>, out: &Path) -> String {
    let mut words: Vec<String> = args.map(|word| quote(&word)).collect();
    if words.len() < 2 {
        words.push("bench".to_owned());
    }
    // By then another folder may be the last that holds such runs.
    if !words.iter().any(|word| word == "--out" || word.starts_with("--out=")) {
        words.extend(["--out".to_owned(), quote(&out.into())]);
    }
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".to_owned());
    }
    words.join(" ")
}

/// Puts single quotes around a word that a shell would take apart; bytes that are no text, and characters that would do
/// something to a terminal, are spelt as `$'\xff'`, which bash, zsh and ksh read.
fn quote(word: &OsString) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", word.as_encoded_bytes().iter().copied().map(spell).collect::<String>()),
    }
}

fn spell(byte: u8) -> String {
    match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_a_full_command_line() {
        let hint = |words: &[&str]| resume_command_of(words.iter().map(|w| (*w).into()), Path::new("runs-2"));
        assert_eq!(hint(&["fewsteps"]), "fewsteps bench --out runs-2 --resume", "no arguments mean bench");
        assert_eq!(hint(&["fewsteps", "bench", "--resume", "--out=o"]), "fewsteps bench --resume --out=o", "not twice");
        assert_eq!(hint(&["fewsteps", "train", "--out", "my runs"]), "fewsteps train --out 'my runs' --resume");
        assert_eq!(quote(&"it's".into()), r"'it'\''s'", "a quote inside quotes");
        assert_eq!(quote(&"schön".into()), "'schön'", "letters");
        assert_eq!(quote(&"a\n'\\b\u{1b}[2J".into()), r"$'a\x0a\'\\b\x1b[2J'", "nothing reaches the terminal raw");
    }

    #[cfg(unix)]
    #[test]
    fn any_bytes_are_quoted() {
        use std::os::unix::ffi::OsStringExt;
        assert_eq!(quote(&OsString::from_vec(b"o\xff\xc3\xa9t".to_vec())), r"$'o\xff\xc3\xa9t'");
    }
}
