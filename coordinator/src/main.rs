//! The coordinator's process: arguments in, one line and an exit code out.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use coordinator::cli::{Cli, Command, ConfigCommand, ServeArgs, TokenCommand};
use coordinator::config::{Config, Settings};
use coordinator::learning::Detector;
use coordinator::{Error, create_token, implications, memory, serve, telemetry};
use tokio::signal;
use tokio::sync::oneshot;

fn main() -> ExitCode {
    memory::be_frugal();
    let cli = Cli::parse();
    telemetry::start();
    let done = match cli.command {
        None => run(&cli.serve),
        Some(Command::Serve(args)) => run(&args),
        Some(Command::Token { command: TokenCommand::Create { state, ttl, uses } }) => {
            create_token(&state, ttl, uses).map(|token| say(&token.to_string()))
        }
        Some(Command::Config { command: ConfigCommand::Check(args) }) => check(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coordinator: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &ServeArgs) -> Result<(), Error> {
    let config = Config::new(Settings::layered(args)?)?;
    let learning = detector(&config)?;
    let runtime =
        coordinator::runtime().map_err(|error| Error::Run(format!("cannot start threads: {error}")))?;
    let end = runtime.block_on(async {
        let stop = stop_wish()?;
        serve(config, Arc::new(learning), stop).await
    });
    // Scoring that nobody waits for any more need not finish.
    runtime.shutdown_background();
    match end? {
        end if end.complete || end.stopped => Ok(()),
        end => Err(Error::Run(end.reason)),
    }
}

fn check(args: &ServeArgs) -> Result<(), Error> {
    let config = Config::new(Settings::layered(args)?)?;
    let learning = detector(&config)?;
    say(implications::text(&config, &learning)?.trim_end());
    Ok(())
}

fn detector(config: &Config) -> Result<Detector, Error> {
    let Settings { eval_data, eval_split, init, threads, .. } = &config.settings;
    let opened = Detector::open(eval_data.as_deref(), eval_split.as_deref(), init.as_deref(), *threads);
    opened.map_err(|error| Error::Usage(error.to_string()))
}

/// Done at the first Ctrl-C or SIGTERM; the second ends the process at once.
fn stop_wish() -> Result<impl Future<Output = ()> + Send, Error> {
    let (asked, wish) = oneshot::channel();
    let mut signals = Signals::new().map_err(|error| Error::Run(format!("cannot catch signals: {error}")))?;
    tokio::spawn(async move {
        signals.next().await;
        let _ = asked.send(());
        signals.next().await;
        std::process::exit(130);
    });
    Ok(async { drop(wish.await) })
}

/// Ctrl-C, and where there is one, SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        let terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        Ok(Self {
            #[cfg(unix)]
            terminate,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        drop(signal::ctrl_c().await);
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    println!("{text}");
}
