//! Settings: file < environment < flags, checked once; [`Config`] can hold only what makes sense.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use coordinator_core::RunConfig;
use coordinator_core::config::ConfigError as RunError;
use coordinator_core::registry::Choice;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cli::ServeArgs;
use crate::limits::INGEST_MIB;

/// The state folder when nothing says otherwise.
pub(crate) const DEFAULT_STATE: &str = "fovea-coordinator";
const PORT: u16 = 7843;

/// What can be set: the coordinator's own settings, and those of its run in the table `run`. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for everything the coordinator keeps.
    pub state: PathBuf,
    /// Address to listen on; `0.0.0.0:7843` when not given, `127.0.0.1:7843` in insecure mode.
    pub listen: Option<String>,
    /// Host names or addresses by which devices reach this machine.
    pub names: Vec<String>,
    /// No TLS and no certificates; on loopback only.
    pub insecure: bool,
    /// Whether standard output is JSON, one object a line.
    pub json: bool,
    /// Labelled images on which the coordinator scores every version.
    pub eval_data: Option<PathBuf>,
    /// Which part of `eval_data`, if it is divided.
    pub eval_split: Option<String>,
    /// Weights to start from.
    pub init: Option<PathBuf>,
    /// Threads for scoring; 0 takes all cores.
    pub threads: usize,
    /// Memory for uploads under way, MiB.
    pub ingest_memory: u32,
    /// The run.
    pub run: coordinator_core::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state: DEFAULT_STATE.into(),
            listen: None,
            names: Vec::new(),
            insecure: false,
            json: false,
            eval_data: None,
            eval_split: None,
            init: None,
            threads: 0,
            ingest_memory: INGEST_MIB,
            run: coordinator_core::Settings::default(),
        }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// As they were given.
    pub settings: Settings,
    /// Addresses to listen on: the first that works is taken.
    pub listen: Vec<SocketAddr>,
    /// The run.
    pub run: RunConfig,
}

/// Why settings are refused: one line each.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file says something else than settings.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Not an address.
    #[error("listen is {found:?}, but must be an address and a port, for example 0.0.0.0:{PORT}: {problem}")]
    Listen {
        /// What was given.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Insecure mode for everyone to see.
    #[error(
        "insecure mode listens on loopback only, not on {found}: leave out --insecure, or --listen 127.0.0.1:{PORT}"
    )]
    Exposed {
        /// The address.
        found: SocketAddr,
    },
    /// Uploads would never get any memory.
    #[error("ingest_memory is 0 MiB, but must be at least 1")]
    NoIngestMemory,
    /// A setting of the run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Settings {
    /// Reads the settings that `args` name: the file, then what the environment and the flags say.
    ///
    /// # Errors
    /// A file that cannot be read or has other fields.
    pub fn layered(args: &ServeArgs) -> Result<Self, ConfigError> {
        let mut settings = match &args.config {
            Some(path) => read(path)?,
            None => Self::default(),
        };
        settings.apply(args.clone());
        Ok(settings)
    }

    fn apply(&mut self, args: ServeArgs) {
        fn set<T>(setting: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *setting = given;
            }
        }
        set(&mut self.state, args.state);
        set(&mut self.listen, args.listen.map(Some));
        set(&mut self.names, args.names);
        self.insecure |= args.insecure;
        self.json |= args.json;
        set(&mut self.eval_data, args.eval_data.map(Some));
        set(&mut self.eval_split, args.eval_split.map(Some));
        set(&mut self.init, args.init.map(Some));
        set(&mut self.threads, args.threads);
        set(&mut self.ingest_memory, args.ingest_memory);

        let run = &mut self.run;
        set(&mut run.rounds, args.rounds);
        set(&mut run.min_clients, args.min_clients);
        set(&mut run.cohort, args.cohort.map(Some));
        set(&mut run.preset, args.model);
        set(&mut run.classes, args.classes.map(Some));
        set(&mut run.seed, args.seed);
        set(&mut run.round_time_limit_s, args.round_time_limit.map(|limit| limit.as_secs_f64()));
        set(&mut run.evaluate_every, args.evaluate_every);
        set(&mut run.personalise, args.personalise);
        if let Some(name) = args.server_optimiser.filter(|name| *name != run.server_optimiser.name) {
            run.server_optimiser = Choice::named(name);
        }
        run.central_score = self.eval_data.is_some();

        let train = &mut run.train;
        set(&mut train.local_epochs, args.local_epochs);
        // A smaller batch takes the forward pass with it; an explicit micro-batch is checked against it.
        if let Some(batch) = args.batch {
            train.micro_batch = train.micro_batch.min(batch);
            train.batch = batch;
        }
        set(&mut train.micro_batch, args.micro_batch);
        set(&mut train.learning_rate, args.learning_rate);
        set(&mut train.optimiser, args.optimiser);
        set(&mut train.trained, args.trained);
        set(&mut train.norm, args.norm);

        let uplink = &mut run.uplink;
        set(&mut uplink.codec, args.codec);
        if let Some(density) = args.density {
            uplink.floor = uplink.floor.min(density);
            uplink.density = density;
        }
        set(&mut uplink.budget_bytes, args.uplink_budget.map(Some));
    }
}

impl Config {
    /// Checks settings.
    ///
    /// # Errors
    /// The first that is out of range or cannot go with another.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let default = if settings.insecure { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
        let listen = match &settings.listen {
            None => vec![SocketAddr::from((default, PORT))],
            Some(text) => resolve(text)?,
        };
        if let Some(found) = listen.iter().find(|address| settings.insecure && !address.ip().is_loopback()) {
            return Err(ConfigError::Exposed { found: *found });
        }
        if settings.ingest_memory == 0 {
            return Err(ConfigError::NoIngestMemory);
        }
        let run = RunConfig::new(settings.run.clone())?;
        Ok(Self { settings, listen, run })
    }
}

fn resolve(text: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    let refuse = |problem: String| ConfigError::Listen { found: text.to_owned(), problem };
    let addresses: Vec<_> = text.to_socket_addrs().map_err(|error| refuse(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(refuse("no such host".to_owned()));
    }
    Ok(addresses)
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text[..start.min(text.len())].matches('\n').count() + 1;
        // The first line of a message is what is wrong; the rest shows the place again.
        let problem = error.message().lines().collect::<Vec<_>>().join(" ");
        ConfigError::File { path: path.to_path_buf(), line, problem }
    })
}

#[cfg(test)]
mod tests;
