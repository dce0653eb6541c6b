//! [`Reading`]: how far large files are read, as a bar on a terminal and as a line every few seconds where there is none.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::Level;

use crate::output;

/// Time between lines.
const EVERY: Duration = Duration::from_secs(5);

/// Tells how far reading is until it is dropped.
#[derive(Debug)]
pub(super) struct Reading(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    name: String,
    bytes: u64,
    done: u64,
    told: Instant,
    bar: ProgressBar,
}

/// A source whose bytes are counted as they are read.
#[derive(Debug)]
pub(super) struct Counted<S> {
    source: S,
    state: Rc<RefCell<State>>,
}

impl Reading {
    /// Of so many bytes in all. Quiet where the log is.
    pub(super) fn of(name: &str, bytes: u64) -> anyhow::Result<Self> {
        let told = log::log_enabled!(Level::Info);
        let target = if told { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let style = "{prefix:27} {bar:24} {bytes}/{total_bytes}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        output::set_bar((!bar.is_hidden()).then(|| bar.clone()));
        let state = State { name: name.to_owned(), bytes, done: 0, told: Instant::now(), bar };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// A source of some of these bytes.
    pub(super) fn through<S: Read>(&self, source: S) -> Counted<S> {
        Counted { source, state: Rc::clone(&self.0) }
    }
}

impl State {
    fn advance(&mut self, count: usize) {
        self.done += count as u64;
        self.bar.set_position(self.done);
        if self.bar.is_hidden() && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            log::info!("{}  {} of {} read", self.name, HumanBytes(self.done), HumanBytes(self.bytes));
        }
    }
}

impl<S: Read> Read for Counted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.state.borrow_mut().advance(count);
        Ok(count)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.borrow().bar.finish_and_clear();
        output::set_bar(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_over_all_sources() {
        let reading = Reading::of("files", 30).expect("a template");
        for length in [10u8, 20] {
            let bytes: Vec<u8> = (0..length).collect();
            let mut found = Vec::new();
            reading.through(bytes.as_slice()).read_to_end(&mut found).expect("in memory");
            assert_eq!(found, bytes, "what was there");
        }
        assert_eq!(reading.0.borrow().done, 30);
    }
}
