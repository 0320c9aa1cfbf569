//! `simulations run SCENARIO.toml --out DIR`, `simulations compare REPORT REPORT`,
//! `simulations curve NAME=REPORT... --out FILE.svg`.

use std::process::ExitCode;

use clap::Parser;
use simulations::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { scenario, out, seed, workers, json } => {
            simulations::run_file(&scenario, &out, seed, usize::from(workers), json)
        }
        Command::Compare { one, other } => {
            simulations::compare(&one, &other).map(|table| simulations::say(table.trim_end())).map(|()| true)
        }
        Command::Curve { reports, out } => simulations::curve(&reports, &out)
            .map(|figures| simulations::say(figures.trim_end()))
            .map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(refused) => {
            eprintln!("simulations: {refused:#}");
            ExitCode::from(2)
        }
    }
}
