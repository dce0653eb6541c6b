//! [`Interrupt`]: Ctrl-C ends the current step, not the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// What a shell reports for a program that Ctrl-C ended.
pub(crate) const EXIT_CODE: u8 = 130;

/// Whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches Ctrl-C and termination from here on. A second one ends the program at once: a step may be long.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&requested);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(EXIT_CODE));
            }
        })
        .context("cannot catch Ctrl-C")?;
        Ok(Self(requested))
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The command line that goes on with this one, quoted for a shell.
pub(crate) fn resume_command() -> String {
    resume_command_of(std::env::args())
}

fn resume_command_of(args: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = args.map(|word| quote(&word)).collect();
    if words.len() < 2 {
        words.push("bench".to_owned());
    }
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".to_owned());
    }
    words.join(" ")
}

/// Puts single quotes around a word that a shell would take apart.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_a_full_command_line() {
        let hint = |words: &[&str]| resume_command_of(words.iter().map(|w| (*w).to_owned()));
        assert_eq!(hint(&["fewsteps"]), "fewsteps bench --resume", "no arguments mean bench");
        assert_eq!(hint(&["fewsteps", "bench", "--resume"]), "fewsteps bench --resume", "not twice");
        assert_eq!(hint(&["fewsteps", "train", "--out", "my runs"]), "fewsteps train --out 'my runs' --resume");
        assert_eq!(quote("it's"), r"'it'\''s'", "a quote inside quotes");
    }
}
