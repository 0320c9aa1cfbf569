//! `simulations run SCENARIO.toml --out DIR`.

use std::process::ExitCode;

use clap::Parser;
use simulations::cli::{Cli, Command};

fn main() -> ExitCode {
    let Command::Run { scenario, out, seed, workers, json } = Cli::parse().command;
    match simulations::run_file(&scenario, &out, seed, usize::from(workers), json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(refused) => {
            eprintln!("simulations: {refused:#}");
            ExitCode::from(2)
        }
    }
}
