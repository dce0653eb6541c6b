//! `fewsteps`: benchmark, train and evaluate neural ODEs by their number of function evaluations.

mod args;
mod choice;
mod command;
mod corrected;
mod data;
mod device;
mod files;
mod input;
mod interrupt;
mod logging;
mod machine;
mod measure;
mod method;
mod model_file;
mod numbers;
mod output;
mod record;
mod regularizer;
mod repeat;
mod report;
mod run;
mod search;
mod settings;
mod solvers;
mod task;
mod validation;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use interrupt::Interrupted;
use run::Ending;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    quiet_drivers();
    let cli = Cli::parse();
    logging::start(&cli);
    match dispatch(cli) {
        Ok(ending) => ending.into(),
        Err(error) if error.is::<Interrupted>() => {
            output::note(&format!("fewsteps: {error}"));
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(error) => {
            output::note(&format!("fewsteps: error: {error:#}"));
            Ending::of(&error).unwrap_or(Ending::Failed).into()
        }
    }
}

/// Where no window system is announced, a layer of Mesa's Vulkan looks for one all the same and prints
/// `error: XDG_RUNTIME_DIR is invalid` once an adapter, as if the program had failed. In a folder that does not exist
/// it finds none in silence.
#[cfg(target_os = "linux")]
fn quiet_drivers() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing the program does; no other thread reads the environment.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", "/nonexistent") };
    }
}

/// Runs the subcommand; without one, the benchmark on the embedded digits.
fn dispatch(cli: Cli) -> anyhow::Result<Ending> {
    let Some(command) = cli.command else {
        return dispatch(Cli::parse_from(["fewsteps", "bench"]));
    };
    match command {
        Command::Bench(args) => command::bench(args),
        Command::Train(args) => command::train(args),
        Command::Sweep(args) => command::sweep(args),
        Command::Tune(args) => command::tune(args),
        Command::Check(args) => command::check(args),
        Command::Eval(args) => command::eval(&args).map(|()| Ending::Finished),
        Command::Profile(args) => command::profile(args),
        Command::Predict(args) => command::predict(&args).map(|()| Ending::Finished),
        Command::Forecast(args) => command::forecast(&args).map(|()| Ending::Finished),
        Command::Deploy(args) => command::deploy(&args).map(|()| Ending::Finished),
        Command::Hypersolve(args) => command::hypersolve(&args).map(|()| Ending::Finished),
        Command::BenchWorkload(args) => command::bench_workload(&args).map(|()| Ending::Finished),
        Command::CheckField(args) => command::check_field(&args),
        Command::Devices(args) => command::devices(&args).map(|()| Ending::Finished),
        Command::Completions { shell } => completions(shell).map(|()| Ending::Finished),
    }
}

/// Prints the completion script of a shell.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fewsteps", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
