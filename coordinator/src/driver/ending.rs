//! The end of a run: what remains of it, and time for clients to fetch the last version.

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{Driver, Input, Stop};
use crate::limits::FAREWELL_TIME;
use crate::output::Remains;
use crate::{Error, locked};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// One line.
    pub reason: String,
    /// Whether all rounds were run.
    pub complete: bool,
    /// Whether the operator asked for it.
    pub stopped: bool,
}

impl Driver {
    /// Writes reports, and when all rounds were run the model.
    pub(super) async fn finish(&mut self, end: &End) -> Result<(), Error> {
        let (store, learning) = (self.store.clone(), self.learning.clone());
        let (published, spec) = (self.core.published().cloned(), self.core.spec().cloned());
        let (config, end, folder) = (self.core.config().clone(), end.clone(), self.output.folder());
        let remains = spawn_blocking(move || {
            let reports = locked(&store).reports()?.into_values().collect();
            let remains = Remains { config, spec, published, reports, end };
            if let Some(folder) = &folder {
                remains.write(folder, &*learning)?;
            }
            Ok::<_, Error>(remains)
        });
        let remains =
            remains.await.map_err(|error| Error::Run(format!("writing the reports failed: {error}")))?;
        self.output.end(&remains?);
        Ok(())
    }

    /// Serves on until all clients have said goodbye, for a while at most.
    pub(super) async fn farewell(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        stop: &mut Stop,
    ) -> Result<(), Error> {
        let until = Instant::now() + FAREWELL_TIME;
        loop {
            self.sessions.retain(|_, session| !session.is_closed());
            if self.sessions.is_empty() {
                return Ok(());
            }
            let input = tokio::select! {
                input = inputs.recv() => input,
                () = stop.asked() => None,
                () = tokio::time::sleep_until(until) => None,
            };
            let Some(input) = input else { return Ok(()) };
            self.take(input).await?;
        }
    }
}
