//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::Named;

/// Simulates a federation of unequal devices in virtual time, with the same round logic as the coordinator and the clients.
#[derive(Debug, Parser)]
#[command(name = "simulations", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one scenario and writes report.json and report.html.
    Run {
        /// The scenario, a TOML file.
        scenario: PathBuf,
        /// Folder for the report; made if it does not exist.
        #[arg(long)]
        out: PathBuf,
        /// Replaces the scenario's seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Training jobs done at the same time; the result is the same for every number.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
        workers: u16,
        /// Prints the report as JSON instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Prints AP50 per round and class of two report.json side by side, and what the first reaches of the second.
    Compare {
        /// For example that of a federation.
        one: PathBuf,
        /// For example that of the same training in one place.
        other: PathBuf,
    },
    /// Draws AP50 by bytes moved of several runs into an SVG file, and prints how they compare with the first.
    Curve {
        /// Runs, for example `dense=out/dense/report.json sparse=out/sparse/report.json`.
        #[arg(required = true, value_name = "NAME=REPORT")]
        reports: Vec<Named>,
        /// The picture.
        #[arg(long)]
        out: PathBuf,
    },
}
