//! One file per command.

mod check;
#[cfg(feature = "detector")]
mod evaluate;
mod join;
#[cfg(feature = "detector")]
mod predict;
#[cfg(feature = "detector")]
mod run;
mod score;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Cli, Command, Data};
use crate::failure::Failure;

/// The whole program: reads the command line, does what it says, tells what went wrong. Exit codes are 0, 1 (it went wrong)
/// and 2 (the command or what it was given is wrong).
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match execute(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

/// Does what a command line says.
///
/// # Errors
/// Anything that keeps it from being done, in one line.
pub fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Join(arguments) => join::execute(arguments),
        Command::Data(Data::Check(arguments)) => check::execute(&arguments),
        Command::Score(arguments) => score::execute(&arguments),
        #[cfg(feature = "detector")]
        Command::Run(arguments) => run::execute(arguments),
        #[cfg(feature = "detector")]
        Command::Evaluate(arguments) => evaluate::execute(&arguments),
        #[cfg(feature = "detector")]
        Command::Predict(arguments) => predict::execute(&arguments),
        #[cfg(not(feature = "detector"))]
        Command::Run(_) | Command::Evaluate(_) | Command::Predict(_) => {
            Err(Failure::usage("this build has no detector: build it with the feature `detector`"))
        }
    }
}

/// What RUST_LOG asks for, and warnings otherwise.
fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let coloured =
        stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(coloured);
    // Somebody who embeds this may have a subscriber of their own.
    let _ = log.try_init();
}

#[cfg(test)]
mod tests;
