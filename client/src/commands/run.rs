//! `client run`: takes part until the run has ended.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client_core::Config;
use identity::IdentityError;
use protocol::train::Trainer;
use tokio::runtime::Builder;

use crate::cli::Run;
use crate::connection::Connector;
use crate::driver::{Ended, run};
use crate::failure::Failure;
use crate::folder::{DataChoice, Folder, Member};
use crate::happening::Happening;
use crate::images::{left_out, open_to_learn};
use crate::learning::{Grant, Resources, trainer};
use crate::report::Reporter;

/// Threads that keep the connection alive and write state; those that learn are the trainer's.
const SERVICE_THREADS: usize = 2;

pub(super) fn execute(arguments: Run) -> Result<ExitCode, Failure> {
    let Run { state, data, split, held_out, cache_mb, memory_mb, recompute, check_finite, compute, output } =
        arguments;
    let resources = Resources::new(&compute)?;
    let recompute = recompute.parse().map_err(|error| Failure::usage(format!("--recompute: {error}")))?;
    let (folder, member) = Folder::open(&state.path)?;
    let connector = connector(&folder, &member)?;
    let mut reporter = Reporter::new(output.json);

    let dataset = open_to_learn(&data, split.as_deref())?;
    for text in left_out(&data, &dataset) {
        reporter.tell(&Happening::Notice { text });
    }
    let (cache_bytes, memory_bytes) = (cache_mb << 20, memory_mb << 20);
    let grant = Grant { resources, cache_bytes, memory_bytes, recompute, check_finite };
    let trainer = trainer(&dataset, &member.client, held_out, grant)?;
    drop(dataset);
    folder.store_data_choice(&DataChoice { split, held_out })?;
    let config = Config::new(member.client, trainer.summary(), RandomState::new().build_hasher().finish());
    reporter.tell(&Happening::Started {
        client: config.id.clone(),
        coordinator: connector.target().to_owned(),
        examples: config.data.examples,
        held_out: config.data.held_out,
        classes: config.data.classes.clone(),
    });
    take_part(Arc::new(folder), config, trainer, connector, reporter)
}

fn connector(folder: &Folder, member: &Member) -> Result<Connector, Failure> {
    if !member.secure {
        return Ok(Connector::insecure(&member.coordinator, &member.client));
    }
    let useless = |error: IdentityError| folder.useless(error.to_string());
    Ok(Connector::secure(&member.coordinator, &folder.credentials()?).map_err(useless)?)
}

fn take_part(
    folder: Arc<Folder>,
    config: Config,
    trainer: Box<dyn Trainer>,
    connector: Connector,
    mut reporter: Reporter,
) -> Result<ExitCode, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(SERVICE_THREADS).enable_all().build();
    let runtime = runtime.map_err(Failure::run)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stop(Arc::clone(&stopped));
    let ended = runtime.block_on(run(folder, config, trainer, connector, stop, |what| reporter.tell(&what)));
    // Training that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    let Ended { reason, complete } = ended?;
    if complete || stopped.load(Ordering::Relaxed) {
        reporter.end(&reason);
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::run(reason))
    }
}

/// Completes when the owner or the system asks to stop; a second request ends the process at once, which costs nothing but
/// what has not been stored yet.
async fn stop(stopped: Arc<AtomicBool>) {
    asked().await;
    stopped.store(true, Ordering::Relaxed);
    tokio::spawn(async {
        asked().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
