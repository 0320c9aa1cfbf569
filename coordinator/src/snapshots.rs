//! Published versions as they are served: encoded once, shared by all downloads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use codec::delta::Content;
use coordinator_core::downlink::{Downlink, Shared};
use coordinator_core::{Moves, Published};
use params::Digest;
use protocol::id::Version;
use protocol::message::{Part, PartKind};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use wire::status::CallError;

use crate::limits::{LOOKUPS_MAX, MAKING_PAUSE, MAKING_TIME};
use crate::locked;

/// What a client is sent.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) parts: Vec<Part>,
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) length: u64,
    /// Of all pieces, one after the other.
    pub(crate) digest: Digest,
}

impl Download {
    /// The bytes from `from` on, in chunks of at most `size`.
    pub(crate) fn chunks(&self, from: u64, size: usize) -> impl Iterator<Item = Bytes> + Send {
        let mut skipped = usize::try_from(from).unwrap_or(usize::MAX);
        let pieces = self.pieces.clone().into_iter();
        let rest = pieces.map(move |piece| {
            let skip = skipped.min(piece.len());
            skipped -= skip;
            piece.slice(skip..)
        });
        rest.flat_map(move |piece| wire::chunk::split(piece, size))
    }
}

/// By version and what is held, if deltas lead there.
type Downloads = BTreeMap<(Version, Option<Content>), Arc<Download>>;

/// The newest versions, and what leads to them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    downlink: RwLock<Downlink>,
    /// Since the last publication.
    downloads: Mutex<Downloads>,
    /// The last version whose whole was let go.
    rested: Mutex<Option<Version>>,
    lookups: Semaphore,
}

impl Default for Snapshots {
    fn default() -> Self {
        let (downlink, downloads, rested) = Default::default();
        Self { downlink, downloads, rested, lookups: Semaphore::new(LOOKUPS_MAX) }
    }
}

impl Snapshots {
    /// Goes on after a restart: what was published last, and the deltas up to it. Takes some milliseconds per million weights, as the
    /// others do that encode something.
    pub(crate) fn resume(&self, published: &Published, deltas: impl Iterator<Item = Vec<u8>>) {
        self.change(|downlink| *downlink = Downlink::resume(published, deltas));
    }

    /// Serves a version from now on; what leads there, to be stored.
    pub(crate) fn publish(&self, published: &Published, moves: Option<&Moves>) -> Option<Shared> {
        self.change(|downlink| downlink.publish(published, moves))
    }

    /// Lets go of the whole version, once for each: when its updates begin to arrive, most of those who want it have it. Not now if
    /// that would take time.
    pub(crate) fn rest(&self) {
        let Some(mut downlink) =
            self.downlink.try_write().ok().filter(|downlink| downlink.newest().is_some())
        else {
            return;
        };
        let newest = downlink.newest();
        let mut rested = locked(&self.rested);
        if *rested != newest {
            *rested = newest;
            downlink.forget_wholes();
            locked(&self.downloads).retain(|(_, held), _| held.is_some());
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Downlink) -> T) -> T {
        let mut downlink = self.downlink.write().unwrap_or_else(PoisonError::into_inner);
        locked(&self.downloads).clear();
        change(&mut downlink)
    }

    /// What a client needs for a version that holds a state of this name. While the next version is made of this one, it cannot be
    /// encoded whole, and is waited for.
    ///
    /// # Errors
    /// [`CallError::UnknownVersion`], also when that takes too long.
    pub(crate) async fn offer(
        self: &Arc<Self>,
        version: Version,
        held: Option<Content>,
    ) -> Result<Arc<Download>, CallError> {
        let mut looks = MAKING_TIME.as_millis() / MAKING_PAUSE.as_millis();
        loop {
            let snapshots = self.clone();
            let look = move || (snapshots.offer_now(version, held), snapshots.state_of(version));
            let found = {
                // Where all wait for the same bytes, a thread for each would cost more than the bytes.
                let _turn = self.lookups.acquire().await;
                spawn_blocking(look).await
            };
            let (download, (served, newest)) = found.map_err(|error| CallError::Failed(error.to_string()))?;
            if let Some(download) = download {
                return Ok(download);
            }
            looks -= 1;
            if !served || looks == 0 {
                let newest = newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
                return Err(CallError::UnknownVersion { version, newest });
            }
            tokio::time::sleep(MAKING_PAUSE).await;
        }
    }

    /// Whether a version can be asked for, and which is the newest that can.
    fn state_of(&self, version: Version) -> (bool, Option<Version>) {
        let downlink = self.downlink.read().unwrap_or_else(PoisonError::into_inner);
        (downlink.serves(version), downlink.newest())
    }

    /// Blocks while a version is published, and while what is asked for is encoded.
    fn offer_now(&self, version: Version, held: Option<Content>) -> Option<Arc<Download>> {
        let downlink = self.downlink.read().unwrap_or_else(PoisonError::into_inner);
        let offer = downlink.offer(version, held)?;
        // So many states are known, whatever clients claim to hold.
        let is_whole = offer.parts.first().is_some_and(|part| part.kind == PartKind::Snapshot);
        let key = (version, held.filter(|_| !is_whole));
        if let Some(download) = locked(&self.downloads).get(&key) {
            return Some(download.clone());
        }
        let slices: Vec<&[u8]> = offer.pieces.iter().map(|piece| &**piece).collect();
        let (length, digest) = (offer.bytes(), Digest::of(&slices));
        let pieces = offer.pieces.into_iter().map(Bytes::from_owner).collect();
        let download = Arc::new(Download { parts: offer.parts, pieces, length, digest });
        locked(&self.downloads).insert(key, download.clone());
        Some(download)
    }
}
