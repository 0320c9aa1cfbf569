//! The end of a run: what remains of it, and time for clients to fetch the last version.

use protocol::id::ClientId;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{Driver, Input, Stop};
use crate::output::Remains;
use crate::store::Entry;
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

    /// Serves on until all clients have heard of the end and said goodbye, for a while at most: those that are connected, and
    /// those of the last round that are not, for the coordinator may have been killed before it could tell them.
    pub(super) async fn farewell(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        stop: &mut Stop,
    ) -> Result<(), Error> {
        if self.parted {
            return Ok(());
        }
        let until = Instant::now() + self.farewell_time;
        let (last, present) = (self.core.last_asked(), self.sessions.keys());
        let absent: Vec<_> = last.iter().filter(|client| !self.sessions.contains_key(*client)).collect();
        if !absent.is_empty() {
            let (names, seconds) = (list(&absent), self.farewell_time.as_secs());
            self.output.notice(&format!("waiting up to {seconds} s for {names} to hear of the end"));
        }
        let unheard = last.iter().chain(present).cloned().collect();
        self.unheard = Some(unheard);
        while self.unheard.as_ref().is_some_and(|unheard| !unheard.is_empty()) {
            let input = tokio::select! {
                input = inputs.recv() => input,
                () = stop.asked() => None,
                () = tokio::time::sleep_until(until) => break,
            };
            let Some(input) = input else { return Ok(()) };
            self.take(vec![input]).await?;
        }
        self.append(vec![Entry::Farewell]).await
    }
}

/// The first few names.
fn list(clients: &[&ClientId]) -> String {
    const SHOWN: usize = 4;
    let names: Vec<_> = clients.iter().take(SHOWN).map(|client| client.as_str()).collect();
    let more = clients.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}
