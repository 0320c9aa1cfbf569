//! The updates of one round so far: their exact combination, and what the report says of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use codec::tiles::UpdateError;
use protocol::id::{ClientId, Version};
use protocol::message::UpdateHeader;

use crate::broadcast::{self, Broadcast};
use crate::combine::Combination;
use crate::config::RunConfig;
use crate::event::Admitted;
use crate::published::Published;

/// Values of which a version is made at a time.
const TILE: usize = 1 << 14;

/// Counts over the accepted updates of a round, and those carried over to it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) count: u32,
    /// Of `count`, accepted in rounds that were abandoned.
    pub(crate) carried: u32,
    /// Of those that are not carried.
    pub(crate) payload_bytes: u64,
    weight: u64,
    /// Sum of weight x loss in thousandths: integers, so that reports do not depend on the order of arrival.
    loss_milli: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, header: &UpdateHeader, weight: u32) {
        self.count += 1;
        self.payload_bytes += u64::from(header.length);
        self.weight += u64::from(weight);
        self.loss_milli += u64::from(weight) * u64::from(header.loss_milli);
    }

    /// Mean training loss, weighted like the updates.
    pub(crate) fn loss(&self) -> Option<f64> {
        (self.weight > 0).then(|| self.loss_milli as f64 / self.weight as f64 / 1000.0)
    }
}

/// The accepted updates towards the next version, in memory that does not grow with their number (but for their clients'
/// names). When a round is abandoned they stay: they are acknowledged, and made from the version that the next round starts
/// from too.
#[derive(Debug)]
pub(crate) struct Contributions {
    base: Arc<Published>,
    combination: Box<dyn Combination>,
    clients: BTreeSet<ClientId>,
    totals: Totals,
}

impl Contributions {
    /// None yet, to the version after `base`.
    pub(crate) fn new(config: &RunConfig, base: Arc<Published>) -> Self {
        let combination = config.combine().open(base.model.layout().clone(), base.model.grid());
        Self { base, combination, clients: BTreeSet::new(), totals: Totals::default() }
    }

    /// Adds an update.
    ///
    /// # Errors
    /// [`UpdateError::Sum`] for values that cannot be summed exactly; nothing is added then. After any other error the contributions
    /// are of no use.
    pub(crate) fn add(
        &mut self,
        config: &RunConfig,
        client: &ClientId,
        header: &UpdateHeader,
        update: &Admitted,
    ) -> Result<(), UpdateError> {
        let weight = header.examples.min(config.settings().weight_cap);
        self.combination.add(client, update, weight, config.threads())?;
        self.clients.insert(client.clone());
        self.totals.add(header, weight);
        Ok(())
    }

    /// Their round is over without a version: they go on to the next one.
    pub(crate) fn carry(&mut self) {
        self.totals.carried = self.totals.count;
        self.totals.payload_bytes = 0;
    }

    /// Whose updates they are.
    pub(crate) fn clients(&self) -> &BTreeSet<ClientId> {
        &self.clients
    }

    /// The version that these updates make of the round's base.
    pub(crate) fn next_version(&self, config: &RunConfig) -> Published {
        let base = &*self.base;
        let mut optimiser = base.optimiser.clone();
        let mut model = base.model.clone();
        let values = model.ticks().len();
        // What has been left out so far, and what these updates want.
        let mut wanted = base.residual.clone();
        wanted.resize(values, 0);
        // By tiles: as a whole, the combined update and the move would take three times the memory of the model.
        for first in (0..values).step_by(TILE) {
            let tile = first..values.min(first + TILE);
            let state = if optimiser.is_empty() { &mut [] } else { &mut optimiser[tile.clone()] };
            let moves = config.server_optimiser().step(state, &self.combination.combined(tile));
            for (wanted, step) in wanted[first..].iter_mut().zip(&moves) {
                *wanted = wanted.saturating_add(*step);
            }
        }
        let version = Version(base.version.0 + 1);
        let share = config.settings().downlink.share(version, config.settings().rounds);
        let Broadcast { sent, residual } = broadcast::divide(&model, wanted, share);
        model.advance(&sent);
        Published {
            version,
            layout: base.layout.clone(),
            digest: model.digest(),
            model,
            statistics: base.statistics.clone(),
            optimiser,
            residual,
        }
    }

    /// The version they start from.
    pub(crate) fn base(&self) -> &Arc<Published> {
        &self.base
    }

    /// Counts over them.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }
}
