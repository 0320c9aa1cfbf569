//! What versions will cost, before there are any.

use codec::statistics::codes;
use protocol::id::Version;

use super::{Downlink, statistics_of};
use crate::broadcast::{self, Moves};
use crate::config::RunConfig;
use crate::event::InitialModel;
use crate::phase::waiting::first_version;
use crate::published::Published;

/// Bytes of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The one that a run starts from, whole.
    pub whole: u64,
    /// What leads from one to the next, between the first and the last.
    pub delta: u64,
    /// What leads to the first that updates make.
    pub first_delta: u64,
    /// What leads to the last.
    pub last_delta: u64,
}

/// Encodes the version that a run starts from and ones that follow it: weights want to move by `moves` (shared values), statistics by
/// nothing to two steps.
///
/// # Errors
/// One line when the run cannot start from these weights.
pub fn sizes(config: &RunConfig, initial: InitialModel, moves: &[f32]) -> Result<Sizes, String> {
    let start = first_version(config, initial)?;
    let (downlink, rounds) = (&config.settings().downlink, config.settings().rounds);
    let mut wanted = Vec::with_capacity(moves.len());
    for (number, tensor) in start.model.layout().tensors().iter().enumerate() {
        let step = start.model.grid().step(number);
        let ticks = |value: &f32| (f64::from(*value) / step).round() as i32;
        wanted.extend(moves.get(tensor.range()).unwrap_or_default().iter().map(ticks));
    }
    wanted.resize(start.model.ticks().len(), 0);
    let mut served = Downlink::default();
    served.publish(&start, None);
    let bytes = |served: &Downlink, version, held| {
        served.offer(Version(version), held).map_or(0, |offer| offer.bytes())
    };
    let delta = |share, version| {
        let mut next = Published::clone(&start);
        let mut sent = broadcast::divide(&start.model, wanted.clone(), share).sent;
        sent.apply(&mut next.model);
        if let Some(layout) = statistics_of(&start) {
            let step = 1 << downlink.statistics_shift(version, rounds);
            let mut moved = codes::codes(&layout, &start.statistics);
            moved.iter_mut().zip(0..).for_each(|(code, number)| *code += (number % 5 - 2) * step);
            next.statistics = codes::values(&layout, &moved);
        }
        let mut served = Downlink::default();
        served.publish(&start, None);
        let next = Published { version: Version(1), digest: next.model.digest(), ..next };
        served.publish(&next, Some(&Moves { from: start.digest, sent, before: None }));
        bytes(&served, 1, Some(start.content()))
    };
    Ok(Sizes {
        whole: bytes(&served, 0, None),
        delta: delta(downlink.steady(), start.version),
        first_delta: delta(downlink.share(Version(1), rounds), start.version),
        last_delta: delta(downlink.share(Version(rounds), rounds), Version(rounds)),
    })
}
