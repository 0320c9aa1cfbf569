//! `client data check`: what a folder holds and what is wrong with it.

use std::process::ExitCode;

use dataset::check::check;
use dataset::{DecodeLimits, OpenOptions};

use crate::cli::Check;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

pub(super) fn execute(arguments: &Check) -> Result<ExitCode, Failure> {
    let Check { dir, split, output } = arguments;
    let options = OpenOptions { split: split.clone(), ..OpenOptions::default() };
    let mut dataset = dataset::open(dir, &options).map_err(Failure::run)?;
    dataset.verify(&DecodeLimits::default());
    let report = check(&dataset);
    if output.json {
        print_json(&report);
    } else {
        print_line(report.to_string().trim_end());
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
