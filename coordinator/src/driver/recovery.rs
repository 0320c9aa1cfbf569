//! Going on with what the store holds.

use std::collections::VecDeque;

use coordinator_core::downlink::STEPS_MAX;
use coordinator_core::{Coordinator, Effect, Published, RunConfig};
use protocol::time::Timestamp;

use crate::Error;
use crate::store::{Entry, Store, StoreError};

/// What the core is after a start.
pub(crate) struct Recovered {
    pub(crate) core: Coordinator,
    /// The version that was stored last and is readable; it is served right away.
    pub(crate) published: Option<Published>,
    pub(crate) effects: Vec<Effect>,
    /// Whoever took part has heard that the run has ended.
    pub(crate) parted: bool,
    pub(crate) notices: Vec<String>,
    /// The last deltas between versions.
    pub(crate) deltas: VecDeque<Vec<u8>>,
}

/// Makes the core from the newest readable version and the journal; a new one when there is neither.
pub(crate) fn recover(config: RunConfig, store: &dyn Store) -> Result<Recovered, Error> {
    let (published, notices) = newest(store)?;
    let mut effects = Vec::new();
    let (mut failed, mut parted) = (None, false);
    let mut deltas = VecDeque::new();
    let records = store.entries()?.map_while(|entry| match entry {
        Ok(entry) => Some(entry),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let records = records.filter_map(|entry| match entry {
        Entry::Record(record) => Some(record),
        Entry::Farewell => {
            parted = true;
            None
        }
        Entry::Delta { bytes, .. } => {
            deltas.push_back(bytes.to_vec());
            if deltas.len() > STEPS_MAX {
                deltas.pop_front();
            }
            None
        }
        Entry::Version { .. } | Entry::Report(_) | Entry::Enrolled(_) => None,
    });
    let served = published.as_ref().map(Published::served);
    let core = Coordinator::recover(config, Timestamp::START, published, records, &mut effects);
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Recovered { core: core?, published: served, effects, notices, parted, deltas }),
    }
}

/// The newest version that can be read. A damaged one is passed over: the one before it and the journal make it again.
fn newest(store: &dyn Store) -> Result<(Option<Published>, Vec<String>), Error> {
    let mut notices = Vec::new();
    let versions = store.versions()?;
    for (version, blob) in versions.iter().rev() {
        let problem = match store.get(blob) {
            Ok(bytes) => match Published::decode(&bytes) {
                Ok(published) => return Ok((Some(published), notices)),
                Err(error) => error.to_string(),
            },
            Err(error @ StoreError::Blob { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        notices.push(format!("version {version} cannot be read, trying the one before: {problem}"));
    }
    Ok((None, notices))
}
