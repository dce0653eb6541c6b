//! [`Ticker`]: how far a run is, as a bar on a terminal and as a line every few seconds where there is none.

use std::time::{Duration, Instant};

use fewsteps::StepReport;
use indicatif::{FormattedDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::Level;

use crate::output;
use crate::report::table;

/// Time between lines: few enough for a log of hours, many enough to see that a run is alive.
const EVERY: Duration = Duration::from_secs(5);

/// Tells how far a run is until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    name: String,
    steps: u64,
    bar: ProgressBar,
    lines: Lines,
}

/// When a line is due, and how long the rest will take.
#[derive(Debug)]
struct Lines {
    /// When the first step began, and how many had been made before.
    began: Instant,
    before: u64,
    last: Instant,
}

impl Ticker {
    /// For a run of so many steps. Quiet where the log is.
    pub(crate) fn new(name: &str, steps: u64) -> anyhow::Result<Self> {
        let told = log::log_enabled!(Level::Info);
        let target = if told { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = "{prefix:27} {bar:24} {pos}/{len}  {msg}  {eta} left";
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        output::set_bar((!bar.is_hidden()).then(|| bar.clone()));
        Ok(Self { name: name.to_owned(), steps, bar, lines: Lines::new(Instant::now(), 0) })
    }

    /// Steps begin here, after as many that were made before.
    pub(crate) fn begin(&mut self, before: u64) {
        self.bar.set_position(before);
        self.bar.reset_eta();
        self.lines = Lines::new(Instant::now(), before);
    }

    /// A step was made.
    pub(crate) fn tick(&mut self, report: &StepReport) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message(report));
            self.bar.inc(1);
        } else if let Some(left) = self.lines.due(Instant::now(), report.step, self.steps) {
            let (name, steps) = (&self.name, self.steps);
            log::info!(
                "{name}  step {} of {steps}  {}  {} left",
                report.step,
                message(report),
                FormattedDuration(left)
            );
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        output::set_bar(None);
    }
}

impl Lines {
    const fn new(now: Instant, before: u64) -> Self {
        Self { began: now, before, last: now }
    }

    /// The time that the steps after `step` will take, if it is time to say so.
    fn due(&mut self, now: Instant, step: u64, steps: u64) -> Option<Duration> {
        if now.duration_since(self.last) < EVERY || step <= self.before {
            return None;
        }
        self.last = now;
        let share = steps.saturating_sub(step) as f64 / (step - self.before) as f64;
        Some(Duration::from_secs((now.duration_since(self.began).as_secs_f64() * share) as u64))
    }
}

/// What is said of a step.
fn message(report: &StepReport) -> String {
    let penalty = match report.penalty {
        _ if report.coefficient == 0.0 => String::new(),
        // Step counts are of the order of 10, published errors of 1e-5.
        small if small < 1e-2 => format!("  penalty {small:.2e}"),
        penalty => format!("  penalty {penalty:.3}"),
    };
    let failed = table::failed(report.failed);
    let skipped = if report.skipped { "  no update" } else { "" };
    format!("loss {:.4}{failed}{skipped}  NFE {}{penalty}", report.loss, report.nfe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_every_few_seconds() {
        let start = Instant::now();
        let mut lines = Lines::new(start, 100);
        // A step a second, from step 101 to step 200.
        let told: Vec<(u64, Duration)> = (101..=200)
            .filter_map(|step| {
                let left = lines.due(start + Duration::from_secs(step - 100), step, 200)?;
                Some((step, left))
            })
            .collect();
        let expected = (1..=20).map(|line| (100 + 5 * line, Duration::from_secs(100 - 5 * line)));
        assert_eq!(told, expected.collect::<Vec<_>>(), "every fifth second, with as many seconds left as steps");
    }
}
