//! What the program and the libraries under it say on stderr: how much, and in which words.

use env_filter::{Builder, Filter};
use log::{Level, Log, Metadata, Record};

use crate::args::{Cli, Command};
use crate::output;

/// The environment's word on how much is said: levels by module, as `debug` or `fewsteps=trace,wgpu_hal=info`.
const VARIABLE: &str = "RUST_LOG";

/// Levels of the program with its library, and of everything under them, by how often `-v` was given. Of tolerances that
/// were asked for the program itself warns.
const VERBOSE: [&str; 4] =
    ["error,fewsteps=info,fewsteps::tolerances=off", "warn,fewsteps=debug", "info,fewsteps=trace", "trace"];
const QUIET: &str = "error,fewsteps=warn,fewsteps::tolerances=off";

#[derive(Debug)]
struct Logger {
    filter: Filter,
}

/// Begins to log. `-q` and `-v` have the last word, then the environment.
pub(crate) fn start(cli: &Cli) {
    let &Cli { quiet, verbose, .. } = cli;
    let asked = std::env::var(VARIABLE).ok().filter(|levels| !quiet && verbose == 0 && !levels.is_empty());
    // Of the adapters that it opens, the list tells more than the log.
    let listing = verbose == 0 && matches!(cli.command, Some(Command::Devices(_)));
    let default = if quiet || listing { QUIET } else { VERBOSE[usize::from(verbose).min(VERBOSE.len() - 1)] };
    let parsed = asked.as_ref().map(|levels| Builder::new().try_parse(levels).map(|builder| builder.build()));
    let (filter, refused) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (Builder::new().parse(default).build(), Some(error)),
        None => (Builder::new().parse(default).build(), None),
    };
    log::set_max_level(filter.filter());
    // The second logger of a process is refused; there is one.
    let _ = log::set_boxed_logger(Box::new(Logger { filter }));
    if let (Some(levels), Some(error)) = (asked, refused) {
        log::warn!("{VARIABLE}={levels:?}: {error}; say a level, or fewsteps=debug");
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            output::note(&words(record));
        }
    }

    fn flush(&self) {}
}

/// A line that says who speaks, so that what a driver prints by itself is not taken for ours.
fn words(record: &Record<'_>) -> String {
    let who = record.target();
    let who = if who.split("::").next() == Some("fewsteps") { "fewsteps" } else { who };
    let level = match record.level() {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        Level::Info => "",
        Level::Debug => "debug: ",
        Level::Trace => "trace: ",
    };
    format!("{who}: {level}{}", record.args())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_who_speaks() {
        for (target, level, expected) in [
            ("fewsteps::session", Level::Info, "fewsteps: x"),
            ("fewsteps", Level::Warn, "fewsteps: warning: x"),
            ("wgpu_hal::vulkan", Level::Error, "wgpu_hal::vulkan: error: x"),
        ] {
            let record = Record::builder().target(target).level(level).args(format_args!("x")).build();
            assert_eq!(words(&record), expected, "{target}");
        }
    }

    #[test]
    fn each_flag_says_more() {
        let says = |levels: &str, target: &str, level| {
            let metadata = Metadata::builder().target(target).level(level).build();
            Builder::new().parse(levels).build().enabled(&metadata)
        };
        for (levels, own, others) in [
            (QUIET, Level::Warn, Level::Error),
            (VERBOSE[0], Level::Info, Level::Error),
            (VERBOSE[1], Level::Debug, Level::Warn),
            (VERBOSE[2], Level::Trace, Level::Info),
        ] {
            for (target, most) in [("fewsteps::run", own), ("wgpu_core::device", others)] {
                let enabled = Level::iter().filter(|&level| says(levels, target, level));
                assert_eq!(enabled.last(), Some(most), "{levels} of {target}");
            }
        }
    }
}
