//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use protocol::id::{ClientId, ClientIdError};

use crate::address::Address;

/// Trains a shared object detector on this device's images, which never leave it.
///
/// Join a coordinator once (`client join`), then let the device take part (`client run`). When the run has ended,
/// `client predict` finds objects in new pictures, and needs no network for it.
#[derive(Debug, Parser)]
#[command(name = "client", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the client can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Become a client of a coordinator: once per device.
    Join(Join),
    /// Take part until the run has ended.
    Run(Run),
    /// Score the shared and this device's own model on labelled images.
    Evaluate(Evaluate),
    /// Find objects in pictures.
    Predict(Predict),
    /// Look after the images of this device.
    #[command(subcommand)]
    Data(Data),
    /// Score detections against annotations as COCO does.
    Score(Score),
}

/// Work on image folders.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Say what a folder of labelled images holds and what is wrong with it.
    ///
    /// Ends with 0 if everything in it can be used, and with 1 if something has to be left out.
    Check(Check),
}

/// Arguments of `client join`.
#[derive(Debug, Args)]
pub struct Join {
    /// Where the coordinator is, as it prints it.
    #[arg(value_name = "HOST:PORT")]
    pub address: Address,
    /// The one-time token from `coordinator token create`.
    #[arg(long, value_name = "TOKEN", env = "FOVEA_TOKEN", hide_env_values = true)]
    #[arg(required_unless_present = "insecure", conflicts_with = "insecure")]
    pub token: Option<String>,
    /// Where this device keeps what it is and knows.
    #[command(flatten)]
    pub state: StateFolder,
    /// The name this device would like: 1 to 64 of a-z, A-Z, 0-9, '-', '_' and '.'. Without it the coordinator makes one.
    #[arg(long, value_parser = client_name)]
    pub name: Option<ClientId>,
    /// Join without token and certificates, by name alone. For trials: works over loopback only, with a coordinator that was
    /// started with --insecure too.
    #[arg(long, requires = "name")]
    pub insecure: bool,
}

/// Arguments of `client run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Where this device keeps what it is and knows.
    #[command(flatten)]
    pub state: StateFolder,
    /// Folder of labelled images: COCO json, Pascal VOC xml or YOLO txt, recognised by itself.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// Only this split of the folder, for example train.
    #[arg(long)]
    pub split: Option<String>,
    /// Share of the images that is not learned from but scored on, 0 to 0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    pub held_out: f64,
    /// Memory for decoded images, MB.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub cache_mb: usize,
    /// Most memory for a training step, MB. A round that asks for more is declined, with what would fit.
    #[arg(long, value_name = "MB", default_value_t = 2048)]
    pub memory_mb: usize,
    /// Train in about 0.75 of the memory at about 0.85 of the speed, to the same result (with frozen batch norm up to rounding): when
    /// a step would not fit into --memory-mb otherwise, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    pub recompute: String,
    /// Look for the first layer with a value that is not finite, and name it if a training diverges.
    #[arg(long)]
    pub check_finite: bool,
    /// What it may compute with.
    #[command(flatten)]
    pub compute: Compute,
    /// How it says things.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `client evaluate`.
#[derive(Debug, Args)]
pub struct Evaluate {
    /// Where this device keeps what it is and knows.
    #[command(flatten)]
    pub state: StateFolder,
    /// Folder of labelled images.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// Only this split of the folder; as `client run` was told, if it is not given.
    #[arg(long)]
    pub split: Option<String>,
    /// Score on all images of the folder instead of those that `client run` holds out of it.
    #[arg(long)]
    pub all: bool,
    /// What it may compute with.
    #[command(flatten)]
    pub compute: Compute,
    /// How it says things.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `client predict`.
#[derive(Debug, Args)]
pub struct Predict {
    /// Pictures, JPEG or PNG.
    #[arg(required = true, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// Where this device keeps what it is and knows.
    #[command(flatten)]
    pub state: StateFolder,
    /// Where to write the pictures with their objects marked (small ones enlarged), one JSON file for each, and
    /// detections.json in the form of COCO results.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Least score of an object, 0 to 1.
    #[arg(long, value_name = "SCORE", default_value_t = 0.3, value_parser = score)]
    pub score: f32,
    /// Use the model that all devices share, not this device's own.
    #[arg(long)]
    pub global: bool,
    /// A COCO annotation file whose image and category ids detections.json is to use, so that `client score` can compare them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub annotations: Option<PathBuf>,
    /// What it may compute with.
    #[command(flatten)]
    pub compute: Compute,
}

/// Arguments of `client data check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Folder of labelled images.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Only this split of the folder, for example train.
    #[arg(long)]
    pub split: Option<String>,
    /// How it says things.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `client score`.
#[derive(Debug, Args)]
pub struct Score {
    /// Detections: a list of image_id, category_id, bbox (x, y, width, height) and score.
    #[arg(value_name = "DETECTIONS.json", value_hint = ValueHint::FilePath)]
    pub detections: PathBuf,
    /// Annotations: images, categories, annotations.
    #[arg(value_name = "ANNOTATIONS.json", value_hint = ValueHint::FilePath)]
    pub annotations: PathBuf,
    /// How it says things.
    #[command(flatten)]
    pub output: Output,
}

/// Where the device keeps what it is and what it knows.
#[derive(Debug, Args)]
pub struct StateFolder {
    /// Folder for this device's key, certificate and what it has learned; one per device.
    #[arg(long = "state", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
}

/// What the device grants to computing.
#[derive(Debug, Args)]
pub struct Compute {
    /// Threads; 0 takes all cores.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    pub threads: usize,
    /// What to compute with: flex, or ndarray in builds that have it.
    #[arg(long, value_name = "NAME", default_value = "flex")]
    pub device: String,
}

/// How to say things.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Print JSON for scripts, one object per line.
    #[arg(long)]
    pub json: bool,
}

fn client_name(text: &str) -> Result<ClientId, ClientIdError> {
    ClientId::new(text)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.5).contains(&share) { Ok(share) } else { Err("it has to be from 0 to 0.5".to_owned()) }
}

fn score(text: &str) -> Result<f32, String> {
    let score = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&score) { Ok(score) } else { Err("it has to be from 0 to 1".to_owned()) }
}

/// More threads than any machine has cores only cost memory.
fn threads(text: &str) -> Result<usize, String> {
    const MAX: usize = 1024;
    let threads = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if threads <= MAX { Ok(threads) } else { Err(format!("it has to be at most {MAX}")) }
}

#[cfg(test)]
mod tests;
