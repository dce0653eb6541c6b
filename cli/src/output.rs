//! What goes to stdout and to stderr.

use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use indicatif::ProgressBar;

/// The bar on the terminal, if there is one: lines are written above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes `text` to stdout. A reader that has gone away, as `head` does, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout"),
    }
}

/// Writes a line to stderr. Where stderr is closed there is nobody to tell.
pub(crate) fn note(line: &str) {
    let write = || {
        let _ = writeln!(std::io::stderr(), "{line}");
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
