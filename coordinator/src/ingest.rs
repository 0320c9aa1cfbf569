//! Uploads on their way in: whose turn it is, how much memory they may take, and where those wait that broke off.
//!
//! A client sends its payload only once it is told to, and from where on. Until then, and while it sends slowly, it costs next
//! to nothing: beyond [`SPOOLED_BYTES`] what has arrived is on disk. So a thousand uploads at a time stay within a fixed bound:
//! half of it is for pieces that arrive, the other half for updates that are checked, each half given out in the order of asking.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use protocol::id::ClientId;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit, watch};
use wire::status::CallError;

use crate::limits::{IN_PLACE_BYTES, READING_BYTES, SPOOLED_BYTES, STREAM_WINDOW_BYTES};
use crate::locked;
use crate::store::updates::Updates;

mod spool;

pub(crate) use spool::{Partial, Spool};

/// What all uploads share.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) spool: Spool,
    receiving: Semaphore,
    checking: Semaphore,
    half_kib: u32,
    lanes: Mutex<BTreeMap<ClientId, Lane>>,
}

/// A client's uploads, one at a time: a newer one takes over from one whose connection is dead without anybody knowing yet.
#[derive(Debug)]
struct Lane {
    turn: Arc<tokio::sync::Mutex<()>>,
    newest: watch::Sender<u64>,
}

/// The right to receive a client's upload.
#[derive(Debug)]
pub(crate) struct Turn {
    ingest: Arc<Ingest>,
    client: ClientId,
    number: u64,
    newest: watch::Receiver<u64>,
    _turn: OwnedMutexGuard<()>,
}

impl Ingest {
    /// With so much memory, bytes. Uploads that break off wait in `folder`; without one they begin anew, and wait in memory.
    /// The files of large updates then belong to `updates`, if that is there.
    pub(crate) fn new(bytes: u64, folder: Option<PathBuf>, updates: Option<Updates>) -> Self {
        let half_kib =
            (bytes / 2 / 1024).clamp(1, Semaphore::MAX_PERMITS as u64 / 2).min(u32::MAX.into()) as u32;
        let half = || Semaphore::new(half_kib as usize);
        let lanes = Mutex::default();
        Self { spool: Spool::new(folder, updates), receiving: half(), checking: half(), half_kib, lanes }
    }

    /// Waits until an earlier upload of the same client has put away what it has.
    ///
    /// # Errors
    /// A later one has come meanwhile.
    pub(crate) async fn enter(self: &Arc<Self>, client: &ClientId) -> Result<Turn, CallError> {
        let (turn, newest, number) = {
            let mut lanes = locked(&self.lanes);
            let lane = lanes
                .entry(client.clone())
                .or_insert_with(|| Lane { turn: Arc::default(), newest: watch::Sender::new(0) });
            let number = *lane.newest.borrow() + 1;
            lane.newest.send_replace(number);
            (lane.turn.clone(), lane.newest.subscribe(), number)
        };
        let guard = turn.lock_owned().await;
        let turn = Turn { ingest: self.clone(), client: client.clone(), number, newest, _turn: guard };
        if turn.is_over() { Err(CallError::Replaced) } else { Ok(turn) }
    }

    /// Memory for the pieces of an upload of so many bytes: those that wait to be written, those that come meanwhile, and those that
    /// are being read.
    pub(crate) async fn room_to_receive(&self, length: u64) -> Result<SemaphorePermit<'_>, CallError> {
        const PIECES: u64 = SPOOLED_BYTES as u64 + STREAM_WINDOW_BYTES as u64;
        self.room(&self.receiving, length.min(PIECES) + READING_BYTES).await
    }

    /// Memory for an update that is checked. One whose values are added from where they are needs some tiles; others their bytes
    /// and their decoded entries, and the largest of them take all there is, one at a time.
    pub(crate) async fn room_to_check(
        &self,
        length: u64,
        entries_max: usize,
        in_place: bool,
    ) -> Result<SemaphorePermit<'_>, CallError> {
        const ENTRY_BYTES: u64 = size_of::<(u32, f32)>() as u64;
        let whole = length.saturating_add(ENTRY_BYTES * entries_max as u64);
        self.room(&self.checking, if in_place { whole.min(IN_PLACE_BYTES) } else { whole }).await
    }

    async fn room<'a>(&self, half: &'a Semaphore, bytes: u64) -> Result<SemaphorePermit<'a>, CallError> {
        let kib = bytes.div_ceil(1024).clamp(1, self.half_kib.into()) as u32;
        half.acquire_many(kib).await.map_err(|_| CallError::Stopping)
    }
}

impl Turn {
    fn is_over(&self) -> bool {
        *self.newest.borrow() > self.number
    }

    /// Waits until a later upload of the client has come.
    pub(crate) async fn over(&mut self) -> CallError {
        // The sender lives as long as there are turns.
        let _ = self.newest.wait_for(|newest| *newest > self.number).await;
        CallError::Replaced
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lanes = locked(&self.ingest.lanes);
        if !self.is_over() {
            lanes.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests;
