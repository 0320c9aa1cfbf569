//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;

/// Trains a detector with devices that keep their images.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do; without it: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For serving without saying `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the rounds (the default).
    Serve(Box<ServeArgs>),
    /// Invite devices.
    Token {
        /// What to do with tokens.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Look at the configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a token that lets devices join; works while the coordinator runs.
    Create {
        /// The coordinator's state folder.
        #[arg(long, env = "FOVEA_STATE", value_name = "DIR", default_value = crate::config::DEFAULT_STATE)]
        state: PathBuf,
        /// How long it can be used, for example 15m, 2h or 7d.
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
        ttl: Duration,
        /// How many devices can use it.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
    },
}

/// The configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective settings and what they imply: bytes per round, memory.
    Check(Box<ServeArgs>),
}

/// Settings of a run. Each overrides the environment, which overrides the file.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Settings file (TOML); `config check` prints one with every setting.
    #[arg(long, env = "FOVEA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for everything the coordinator keeps [default: fovea-coordinator].
    #[arg(long, env = "FOVEA_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Address to listen on [default: 0.0.0.0:7843, with --insecure 127.0.0.1:7843].
    #[arg(long, env = "FOVEA_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// Host names or addresses by which devices reach this machine; the first is printed in the join line.
    #[arg(long = "name", env = "FOVEA_NAMES", value_name = "HOST", value_delimiter = ',')]
    pub names: Option<Vec<String>>,
    /// No TLS and no certificates; clients say their names themselves. On loopback only.
    #[arg(long, env = "FOVEA_INSECURE")]
    pub insecure: bool,
    /// Print JSON, one object a line.
    #[arg(long, env = "FOVEA_JSON")]
    pub json: bool,

    /// Rounds to run [default: 20].
    #[arg(long, env = "FOVEA_ROUNDS", value_name = "N")]
    pub rounds: Option<u32>,
    /// Passes over each device's images per round [default: 4].
    #[arg(long, env = "FOVEA_LOCAL_EPOCHS", value_name = "E")]
    pub local_epochs: Option<u32>,
    /// Clients that must be connected before a round opens [default: 2].
    #[arg(long, env = "FOVEA_MIN_CLIENTS", value_name = "K")]
    pub min_clients: Option<u32>,
    /// Updates after which a round closes [default: one from each connected client].
    #[arg(long, env = "FOVEA_COHORT", value_name = "N")]
    pub cohort: Option<u32>,
    /// Detector, for example small256 or small256@320 [default: small256].
    #[arg(long, env = "FOVEA_MODEL", value_name = "PRESET")]
    pub model: Option<String>,
    /// Class names [default: all that the first clients have].
    #[arg(long, env = "FOVEA_CLASSES", value_name = "NAME", value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
    /// Labelled images on which the coordinator scores every version.
    #[arg(long, env = "FOVEA_EVAL_DATA", value_name = "DIR")]
    pub eval_data: Option<PathBuf>,
    /// Which part of --eval-data, if it is divided: train, val, test.
    #[arg(long, env = "FOVEA_EVAL_SPLIT", value_name = "SPLIT")]
    pub eval_split: Option<String>,
    /// Weights to start from: a Fovea safetensors file, or torchvision MobileNetV2 (.pth or safetensors).
    #[arg(long, env = "FOVEA_INIT", value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Seed of everything random in the run [default: 0].
    #[arg(long, env = "FOVEA_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Time a round waits for updates, for example 30m or 2h [default: 1h].
    #[arg(long, env = "FOVEA_ROUND_TIME_LIMIT", value_name = "TIME", value_parser = duration)]
    pub round_time_limit: Option<Duration>,
    /// Evaluate every n-th version on the clients [default: 1].
    #[arg(long, env = "FOVEA_EVALUATE_EVERY", value_name = "N")]
    pub evaluate_every: Option<u32>,
    /// What moves the model: none (the mean of the updates) or momentum [default: none].
    #[arg(long, env = "FOVEA_SERVER_OPTIMISER", value_name = "NAME")]
    pub server_optimiser: Option<String>,
    /// What stays on the device: head (a class layer of its own) or none [default: head].
    #[arg(long, env = "FOVEA_PERSONALISE", value_name = "NAME")]
    pub personalise: Option<String>,

    /// Images per optimiser step [default: 2].
    #[arg(long, env = "FOVEA_BATCH", value_name = "N")]
    pub batch: Option<u32>,
    /// Images per forward pass; memory on the device follows this [default: 2].
    #[arg(long, env = "FOVEA_MICRO_BATCH", value_name = "N")]
    pub micro_batch: Option<u32>,
    /// Peak learning rate [default: 0.006].
    #[arg(long, env = "FOVEA_LEARNING_RATE", value_name = "RATE")]
    pub learning_rate: Option<f32>,
    /// Optimiser on the device: adamw, adam-mini or sgd [default: adam-mini].
    #[arg(long, env = "FOVEA_OPTIMISER", value_name = "NAME", value_parser = word::<protocol::plan::Optimiser>)]
    pub optimiser: Option<protocol::plan::Optimiser>,
    /// What trains: head, neck+head, light or all [default: light].
    #[arg(long, env = "FOVEA_TRAINED", value_name = "PART", value_parser = word::<protocol::plan::Freeze>)]
    pub trained: Option<protocol::plan::Freeze>,
    /// Batch norm: local (statistics of each device) or frozen [default: local].
    #[arg(long, env = "FOVEA_NORM", value_name = "NAME", value_parser = word::<protocol::plan::Norm>)]
    pub norm: Option<protocol::plan::Norm>,

    /// Compression of updates: sparse, dense or half [default: sparse].
    #[arg(long, env = "FOVEA_CODEC", value_name = "NAME")]
    pub codec: Option<String>,
    /// Share of the weights that an update sends, above 0 and at most 1 [default: 0.016].
    #[arg(long, env = "FOVEA_DENSITY", value_name = "SHARE")]
    pub density: Option<f32>,
    /// Most bytes of an update, from which follows what it sends instead of from --density.
    #[arg(long, env = "FOVEA_UPLINK_BUDGET", value_name = "BYTES")]
    pub uplink_budget: Option<u32>,

    /// Memory for uploads under way, MiB; further ones wait [default: 4].
    #[arg(long, env = "FOVEA_INGEST_MEMORY", value_name = "MIB")]
    pub ingest_memory: Option<u32>,
    /// Threads for the coordinator's own scoring [default: one per core].
    #[arg(long, env = "FOVEA_THREADS", value_name = "N")]
    pub threads: Option<usize>,
}

/// A word of an enumeration, as the settings file spells it.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// A number with a unit: `90s`, `15m`, `2h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with s, m, h or d, for example 15m".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        'd' => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = seconds * number;
    if !(0.001..=28.0 * 86_400.0).contains(&seconds) {
        return Err("expected a time from 1 ms to 28 days".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What `--help` calls a default is the default.
    #[test]
    fn help_tells_the_defaults() {
        let settings = coordinator_core::Settings::default();
        let train = &settings.train;
        let word = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let defaults = [
            ("rounds", settings.rounds.to_string()),
            ("local_epochs", train.local_epochs.to_string()),
            ("min_clients", settings.min_clients.to_string()),
            ("model", settings.preset.clone()),
            ("seed", settings.seed.to_string()),
            ("round_time_limit", format!("{}h", settings.round_time_limit_s / 3600.0)),
            ("evaluate_every", settings.evaluate_every.to_string()),
            ("server_optimiser", settings.server_optimiser.name.clone()),
            ("personalise", settings.personalise.clone()),
            ("batch", train.batch.to_string()),
            ("micro_batch", train.micro_batch.to_string()),
            ("learning_rate", train.learning_rate.to_string()),
            ("optimiser", word(serde_json::json!(train.optimiser))),
            ("trained", word(serde_json::json!(train.trained))),
            ("norm", word(serde_json::json!(train.norm))),
            ("codec", settings.uplink.codec.clone()),
            ("density", settings.uplink.density.to_string()),
            ("ingest_memory", crate::limits::INGEST_MIB.to_string()),
            ("state", crate::config::DEFAULT_STATE.to_owned()),
        ];
        let command = Cli::command();
        for (argument, default) in defaults {
            let argument = command.get_arguments().find(|found| found.get_id() == argument).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {default}]")), "{help} (it is {default})");
        }
    }

    #[test]
    fn serving_needs_no_word() {
        let plain = Cli::parse_from(["coordinator", "--rounds", "100", "--classes", "a,b"]);
        assert!(plain.command.is_none());
        assert_eq!(plain.serve.rounds, Some(100));
        assert_eq!(plain.serve.classes.unwrap(), ["a", "b"]);
        let said = Cli::parse_from(["coordinator", "serve", "--rounds", "3"]);
        assert!(matches!(said.command, Some(Command::Serve(args)) if args.rounds == Some(3)));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "15", "m", "-1m", "1y", "NaNs", "infd", "99d", "0s", "15µ"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
