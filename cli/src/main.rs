//! `fewsteps`: benchmark, train and evaluate neural ODEs by their number of function evaluations.

mod args;
mod bench;
mod data;
mod device;
mod devices;
mod eval;
mod files;
mod interrupt;
mod learner;
mod machine;
mod measure;
mod numbers;
mod output;
mod plot;
mod record;
mod report;
mod run;
mod session;
mod settings;
mod stats;
mod summary;
mod table;
mod task;
mod train;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use session::Ending;

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(Ending::Finished) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the subcommand; without one, the benchmark on the embedded digits.
fn dispatch(cli: Cli) -> anyhow::Result<Ending> {
    let Some(command) = cli.command else {
        return dispatch(Cli::parse_from(["fewsteps", "bench"]));
    };
    match command {
        Command::Bench(args) => bench::bench(&args),
        Command::Train(args) => train::train(&args),
        Command::Eval(args) => eval::eval(&args).map(|()| Ending::Finished),
        Command::BenchWorkload(args) => workload::run(&args).map(|()| Ending::Finished),
        Command::Devices(args) => devices::devices(&args).map(|()| Ending::Finished),
        Command::Completions { shell } => completions(shell).map(|()| Ending::Finished),
    }
}

/// Prints the completion script of a shell.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fewsteps", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
