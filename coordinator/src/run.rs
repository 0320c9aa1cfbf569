//! One run on parts that the caller brings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coordinator_core::RunConfig;
use identity::Authority;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;
use tonic::service::Routes;
use wire::grpc::{enrolment_server, federation_server};

use crate::connection::{Incoming, accept};
use crate::driver::{Driver, End, Stop, recover};
use crate::grpc::{EnrolmentService, FederationService};
use crate::http;
use crate::ingest::Ingest;
use crate::learning::Learning;
use crate::limits::{ADDING_THREADS_MAX, INPUTS_MAX};
use crate::meter::Meter;
use crate::output::Output;
use crate::snapshots::Snapshots;
use crate::store::Store;
use crate::tokens::Tokens;
use crate::{Error, SharedStore};

/// What a coordinator is made of.
pub struct Parts {
    /// What must survive.
    pub store: Box<dyn Store>,
    /// Makes, scores and saves models.
    pub learning: Arc<dyn Learning>,
    /// Byte streams from clients.
    pub incoming: Incoming,
    /// How clients are known.
    pub security: Security,
    /// What the operator sees.
    pub output: Output,
    /// Counts the bytes of all streams.
    pub meter: Arc<Meter>,
    /// How long clients are waited for at the end of the run.
    pub farewell_time: Duration,
    /// Memory for uploads under way, bytes.
    pub ingest_bytes: u64,
    /// Folder in which uploads that broke off wait for the rest; without one they begin anew.
    pub uploads: Option<PathBuf>,
}

/// How clients are known.
pub enum Security {
    /// By certificates of this authority, over TLS.
    Tls {
        /// Signs certificates of devices with a token.
        authority: Arc<Authority>,
        /// The tokens.
        tokens: Tokens,
        /// The server's side of TLS.
        config: Arc<ServerConfig>,
    },
    /// They say their names themselves. For loopback and for tests.
    Insecure,
}

/// Runs until all rounds are run, or `stop` asks for it. Goes on with what the store holds.
///
/// # Errors
/// A store that cannot be used or written, a model that cannot be made. What was acknowledged is stored.
pub async fn run(
    config: RunConfig,
    parts: Parts,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<End, Error> {
    let Parts { store, learning, incoming, security, mut output, meter, .. } = parts;
    let (farewell_time, updates) = (parts.farewell_time, store.updates());
    let ingest = Arc::new(Ingest::new(parts.ingest_bytes, parts.uploads, updates));
    learning.knows(&config.settings().preset).map_err(Error::Usage)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let config = config.with_threads(threads.min(ADDING_THREADS_MAX));
    let run = config.run();
    let snapshots = Arc::new(Snapshots::default());
    let (recovered, reports, store) = {
        let (config, snapshots) = (config.clone(), snapshots.clone());
        let recovered = tokio::task::spawn_blocking(move || {
            let mut recovered = recover(config, &*store)?;
            if let Some(published) = recovered.published.take() {
                snapshots.resume(&published, std::mem::take(&mut recovered.deltas).into_iter());
            }
            let reports: Vec<_> = store.reports()?.into_values().collect();
            Ok::<_, Error>((recovered, reports, store))
        });
        recovered.await.map_err(|error| Error::Run(format!("reading the store failed: {error}")))??
    };
    let store: SharedStore = Arc::new(Mutex::new(store));
    output.begin(&config, &reports)?;
    recovered.notices.iter().for_each(|notice| output.notice(notice));

    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (admission, admitted) = watch::channel(recovered.core.admission());
    let insecure = matches!(security, Security::Insecure);
    let federation =
        FederationService::new(run, inputs.clone(), admitted, snapshots.clone(), ingest, insecure);
    let (enrolment, tls) = match security {
        Security::Insecure => (None, None),
        Security::Tls { authority, tokens, config } => {
            let tokens = Arc::new(Mutex::new(tokens));
            (Some(EnrolmentService { authority, tokens, store: store.clone() }), Some(config))
        }
    };
    let connections = accept(incoming, tls, meter.clone());
    let (close, closed) = oneshot::channel::<()>();
    let mut routes = Routes::new(federation_server(federation));
    if let Some(enrolment) = enrolment {
        routes = routes.add_service(enrolment_server(enrolment));
    }
    let server = tokio::spawn(http::serve(connections, routes, async { drop(closed.await) }));

    let driver = Driver {
        core: recovered.core,
        started: Instant::now(),
        store,
        learning,
        snapshots,
        admission,
        output,
        meter,
        inputs,
        sessions: BTreeMap::new(),
        uploads: BTreeMap::new(),
        reported: crate::meter::Reading::default(),
        ended: None,
        farewell_time,
        parted: recovered.parted,
        unheard: None,
    };
    let ended = driver.run(recovered.effects, received, Stop::new(stop)).await;
    // Connections may finish what they are saying; the driver is gone, so they have nothing new to say.
    drop(close);
    let grace = tokio::time::timeout(Duration::from_secs(5), server).await;
    if !matches!(grace, Ok(Ok(()))) {
        tracing::debug!("connections were closed before they ended");
    }
    ended
}

#[cfg(test)]
mod tests;
