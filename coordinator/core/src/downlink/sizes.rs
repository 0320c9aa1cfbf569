//! What versions will cost, before there are any.

use std::sync::Arc;

use codec::statistics::codes;
use protocol::id::Version;

use super::{Downlink, statistics_of};
use crate::broadcast;
use crate::config::RunConfig;
use crate::event::InitialModel;
use crate::phase::waiting::first_version;
use crate::published::Published;

/// Bytes of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The first one, whole.
    pub whole: u64,
    /// What leads from it to the next.
    pub delta: u64,
}

/// Encodes the first version of a run and one that follows it: weights want to move by `moves` (shared values), statistics by nothing to
/// two steps.
///
/// # Errors
/// One line when the run cannot start from these weights.
pub fn sizes(config: &RunConfig, initial: InitialModel, moves: &[f32]) -> Result<Sizes, String> {
    let first = first_version(config, initial)?;
    let downlink = &config.settings().downlink;
    let mut wanted = Vec::with_capacity(moves.len());
    for (number, tensor) in first.model.layout().tensors().iter().enumerate() {
        let step = first.model.grid().step(number);
        let ticks = |value: &f32| (f64::from(*value) / step).round() as i32;
        wanted.extend(moves.get(tensor.range()).unwrap_or_default().iter().map(ticks));
    }
    wanted.resize(first.model.ticks().len(), 0);
    let mut next = first.clone();
    next.model.advance(&broadcast::divide(&first.model, wanted, downlink.share(false)).sent);
    if let Some(layout) = statistics_of(&first) {
        let step = 1 << downlink.statistics_shift();
        let mut moved = codes::codes(&layout, &first.statistics);
        moved.iter_mut().zip(0..).for_each(|(code, number)| *code += (number % 5 - 2) * step);
        next.statistics = codes::values(&layout, &moved);
    }
    let next = Published { version: Version(1), digest: next.model.digest(), ..next };
    let (held, mut served) = (first.content(), Downlink::default());
    let bytes = |served: &Downlink, version, held| {
        served.offer(Version(version), held).map_or(0, |offer| offer.bytes())
    };
    served.publish(Arc::new(first));
    let whole = bytes(&served, 0, None);
    served.publish(Arc::new(next));
    Ok(Sizes { whole, delta: bytes(&served, 1, Some(held)) })
}
