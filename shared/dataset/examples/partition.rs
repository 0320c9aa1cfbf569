//! Divides a labelled folder of any format between clients and writes one VOC folder for each.
//!
//! ```text
//! cargo run -p dataset --example partition -- --data VOC --split trainval --clients 4 --scheme dirichlet --alpha 0.5 \
//!     --seed 1 --out /tmp/clients
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dataset::partition::{PartitionConfig, divide};
use dataset::{Dataset, OpenOptions, check, open, write_voc};
use serde_json::{Map, Value, json};

/// Divide a labelled folder between clients.
#[derive(Parser)]
struct Args {
    /// Folder with images and labels.
    #[arg(long)]
    data: PathBuf,
    /// Only this split of it.
    #[arg(long)]
    split: Option<String>,
    /// Number of clients.
    #[arg(long)]
    clients: usize,
    /// iid, dirichlet, quantity or by-site.
    #[arg(long, default_value = "dirichlet")]
    scheme: String,
    /// Concentration for dirichlet; small is uneven.
    #[arg(long)]
    alpha: Option<f64>,
    /// Strata for dirichlet: class-set or rarest-class.
    #[arg(long)]
    over: Option<String>,
    /// Spread of the amounts for quantity.
    #[arg(long)]
    log_normal: Option<f64>,
    /// The same seed gives the same division.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to make `client-0`, `client-1`, ... in.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let dataset = open(&args.data, &OpenOptions { split: args.split.clone(), ..OpenOptions::default() })?;
    let given = [
        ("alpha", args.alpha.map(|v| json!(v))),
        ("over", args.over.as_ref().map(|v| json!(v))),
        ("log_normal", args.log_normal.map(|v| json!(v))),
    ];
    let settings: Map<String, Value> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let scheme = PartitionConfig { scheme: args.scheme.clone(), settings }.build()?;
    let parts = divide(scheme.as_ref(), &dataset.traits(), args.clients, args.seed)?;
    for (client, part) in parts.iter().enumerate() {
        let own: Dataset = dataset.subset(part);
        let every: Vec<usize> = (0..own.samples.len()).collect();
        write_voc(&args.out.join(format!("client-{client}")), &own, &[("train", &every)])?;
        let counts: Vec<String> = check::check(&own)
            .classes
            .iter()
            .map(|class| format!("{} {}", class.name, class.boxes))
            .collect();
        eprintln!("client-{client}: {} images, {}", own.samples.len(), counts.join(", "));
    }
    Ok(())
}
