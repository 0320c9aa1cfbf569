//! Versions and reports: stored durably, then served and shown.

use std::sync::Arc;

use coordinator_core::{Event, Moves, Published, RoundReport};
use protocol::plan::ModelSpec;
use tokio::task::spawn_blocking;

use super::{Driver, Input};
use crate::limits::{KEPT_BYTES_MIN, VERSIONS_MAX};
use crate::store::{Entry, Store, StoreError};
use crate::{Error, locked};

impl Driver {
    /// Stores a version's bytes and serves it; what is still to be written, before anybody is told of the version, and what the core
    /// can do without.
    pub(super) async fn publish(
        &mut self,
        published: Arc<Published>,
        moves: Option<Arc<Moves>>,
    ) -> Result<(Vec<Entry>, Option<Event>), Error> {
        let version = published.version;
        let snapshots = self.snapshots.clone();
        let (delta, blob, kept) = self
            .with_store(move |store| {
                let blob = store.put(&mut |write| published.write_to(write))?;
                let versions = store.versions()?;
                let kept = versions.into_values().rev().take(VERSIONS_MAX).chain([blob]);
                store.keep_only(&kept.collect())?;
                let residual = 4 * published.residual.len();
                let kept = (residual >= KEPT_BYTES_MIN).then(|| store.tail(&blob, residual)).flatten();
                Ok((snapshots.publish(&published, moves.as_deref()), blob, kept))
            })
            .await?;
        let bytes = delta.as_ref().map(|delta| delta.len());
        tracing::info!(%version, bytes, "published");
        let delta = delta.map(|delta| Entry::Delta { version, bytes: delta });
        let kept = kept.map(|residual| Event::Kept { version, residual });
        Ok(([Entry::Version { version, blob }].into_iter().chain(delta).collect(), kept))
    }

    /// Scores a version beside the loop.
    pub(super) fn score(&self, spec: ModelSpec, published: Arc<Published>) {
        let (learning, inputs) = (self.learning.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let version = published.version;
            let scored = spawn_blocking(move || learning.score(&spec, &published)).await;
            let score = scored.unwrap_or_else(|error| Err(format!("scoring failed: {error}")));
            let _ = inputs.send(Input::Core(Event::Scored { version, score })).await;
        });
    }

    /// A report completed with what was measured.
    pub(super) fn measured(&mut self, mut report: RoundReport) -> RoundReport {
        let reading = self.meter.read();
        let on_wire = reading.since(self.reported);
        self.reported = reading;
        report.wire_uplink_bytes = Some(on_wire.received);
        report.wire_downlink_bytes = Some(on_wire.sent);
        report
    }

    /// Does something with the store where blocking is allowed.
    pub(super) async fn with_store<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        let done = spawn_blocking(move || act(&mut **locked(&store))).await;
        let done = done.map_err(|error| Error::Run(format!("writing to the store failed: {error}")))?;
        done.map_err(Error::Store)
    }
}
