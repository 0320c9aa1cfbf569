//! The updates of one round so far: their exact combination, and what the report says of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use codec::account::Account;
use codec::payload::{Stored, Unreadable};
use codec::tiles::UpdateError;
use protocol::id::{ClientId, Version};
use protocol::message::UpdateHeader;

use crate::broadcast::{self, Broadcast, Moves, Sent};
use crate::combine::Combination;
use crate::config::RunConfig;
use crate::event::Admitted;
use crate::published::Published;

mod aside;

use aside::Aside;

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
    /// Of those that are not carried and leave values out.
    pub(crate) accounts: Accounts,
}

/// Sizes of updates against their limits, summed up; bits in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) entries: u64,
    bits: u64,
    /// Of choosing places among all, and among those of each tensor.
    mask: u64,
    tensor_mask: u64,
    /// Entropy of the values.
    values: u64,
}

impl Accounts {
    fn add(&mut self, account: &Account) {
        let entries = account.entries as f64;
        let milli = |bits: f64| (1000.0 * bits).round() as u64;
        self.entries += account.entries as u64;
        self.bits += 8000 * account.bytes as u64;
        self.mask += milli(entries * account.mask_bits_per_entry());
        self.tensor_mask += milli(account.tensor_mask_bits);
        self.values += milli(entries * account.value_entropy);
    }

    /// Bits of the messages per value sent.
    pub(crate) fn bits_per_entry(&self) -> Option<f64> {
        (self.entries > 0).then(|| self.bits as f64 / self.entries as f64 / 1000.0)
    }

    /// Bits of the messages over those of a uniform mask and of the entropy of the values.
    pub(crate) fn over_entropy(&self) -> Option<f64> {
        let limit = self.mask + self.values;
        (limit > 0).then(|| self.bits as f64 / limit as f64)
    }

    /// The same with a mask whose density in each tensor is known.
    pub(crate) fn over_tensor_entropy(&self) -> Option<f64> {
        let limit = self.tensor_mask + self.values;
        (limit > 0).then(|| self.bits as f64 / limit as f64)
    }
}

impl Totals {
    pub(crate) fn add(&mut self, header: &UpdateHeader, account: Option<&Account>, weight: u32) {
        self.count += 1;
        account.into_iter().for_each(|account| self.accounts.add(account));
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
    /// What the base has left out, if it does not have it itself any more.
    aside: Option<Aside>,
    combination: Box<dyn Combination>,
    clients: BTreeSet<ClientId>,
    totals: Totals,
}

impl Contributions {
    /// None yet, to the version after `base`.
    pub(crate) fn new(config: &RunConfig, base: Arc<Published>) -> Self {
        let combination = config.combine().open(base.model.layout().clone(), base.model.grid());
        Self { base, aside: None, combination, clients: BTreeSet::new(), totals: Totals::default() }
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
        self.totals.add(header, update.account.as_ref(), weight);
        Ok(())
    }

    /// Lets go of what the base has left out if the driver has it, and nobody else the base.
    pub(crate) fn set_aside(&mut self, kept: Option<&(Version, Arc<dyn Stored>)>) {
        let kept = kept.filter(|(version, _)| *version == self.base.version && self.aside.is_none());
        if let (Some((_, stored)), Some(base)) = (kept, Arc::get_mut(&mut self.base))
            && !base.residual.is_empty()
        {
            self.aside = Some(Aside::new(&base.residual, stored.clone()));
            base.residual = Vec::new();
        }
    }

    /// Their round is over without a version: they go on to the next one.
    pub(crate) fn carry(&mut self) {
        self.totals.carried = self.totals.count;
        self.totals.payload_bytes = 0;
        self.totals.accounts = Accounts::default();
    }

    /// Whose updates they are.
    pub(crate) fn clients(&self) -> &BTreeSet<ClientId> {
        &self.clients
    }

    /// The version that these updates make of the round's base, and how it has moved. They are used up by it: their sums, and the base's
    /// weights and what it had left out, give their memory to the new version, if nobody else holds the base.
    ///
    /// # Errors
    /// What the base had left out is not where it was set aside.
    pub(crate) fn make_version(&mut self, config: &RunConfig) -> Result<(Published, Moves), Unreadable> {
        let (mut optimiser, mut wanted) = match Arc::get_mut(&mut self.base) {
            Some(base) => (std::mem::take(&mut base.optimiser), std::mem::take(&mut base.residual)),
            None => (self.base.optimiser.clone(), self.base.residual.clone()),
        };
        let values = self.base.model.ticks().len();
        // What has been left out so far, and what these updates want. Zeros that are not touched take no memory yet.
        if wanted.is_empty() {
            wanted = vec![0; values];
        }
        let gain = config.gain(self.base.version, self.base.model.layout());
        // By tiles, from the end: as a whole, the combined update and the move would take three times the memory of the model.
        for first in (0..values).step_by(TILE).rev() {
            let tile = first..values.min(first + TILE);
            if let Some(aside) = &self.aside {
                aside.read(first, &mut wanted[tile.clone()])?;
            }
            let state = if optimiser.is_empty() { &mut [] } else { &mut optimiser[tile] };
            let moves = config.server_optimiser().step(state, &self.combination.take(first));
            for (wanted, &step) in wanted[first..].iter_mut().zip(&moves) {
                // As every product of an i32, exact in f64 before it is rounded.
                *wanted = wanted.saturating_add((gain * f64::from(step)).round() as i32);
            }
        }
        let mut model = match Arc::get_mut(&mut self.base) {
            Some(base) => base.model.take(),
            None => self.base.model.clone(),
        };
        let base = &*self.base;
        let version = Version(base.version.0 + 1);
        let share = config.settings().downlink.share(version, config.settings().rounds);
        let Broadcast { mut sent, residual } = broadcast::divide(&model, wanted, share);
        let before = matches!(sent, Sent::All(_)).then(|| model.clone());
        sent.apply(&mut model);
        if before.is_some() {
            sent = Sent::All(Vec::new());
        }
        let published = Published {
            version,
            layout: base.layout.clone(),
            digest: model.digest(),
            model,
            statistics: base.statistics.clone(),
            optimiser,
            residual,
        };
        Ok((published, Moves { from: base.digest, sent, before }))
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

#[cfg(test)]
mod tests {
    use codec::payload::Payload;
    use codec::tiles::Checked;
    use params::{Canonical, Grid, Layout, Scope, TensorSpec};

    use super::*;
    use crate::registry::Choice;
    use crate::tests::support::{client, header, settings};

    /// What a version leaves out, somewhere else.
    #[derive(Debug)]
    struct Elsewhere(Vec<u8>);

    impl Stored for Elsewhere {
        fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
            into.copy_from_slice(&self.0[offset..offset + into.len()]);
            Ok(())
        }
    }

    /// The version after one of several tiles, by one update; how what that leaves out is stored, if it is.
    fn made(stored: Option<fn(&mut Vec<u8>)>) -> Result<(Published, Moves), Unreadable> {
        let spec = TensorSpec { name: "a".into(), shape: vec![2 * TILE + 5], scope: Scope::Shared };
        let layout = Arc::new(Layout::new(vec![spec]).unwrap());
        let grid = Grid::from_exponents(&layout, vec![-20]).unwrap();
        let numbers =
            |factor: i32| (0..layout.len() as i32).map(move |index| index.wrapping_mul(factor) >> 12);
        let model = Canonical::from_ticks(layout.clone(), grid, numbers(77_777_777).collect()).unwrap();
        let residual: Vec<i32> = numbers(-123_456_789).collect();
        let bytes: Vec<u8> = residual.iter().flat_map(|ticks| ticks.to_le_bytes()).collect();
        let base = Published {
            version: Version(3),
            layout: layout.clone(),
            digest: model.digest(),
            model,
            statistics: Vec::new(),
            optimiser: Vec::new(),
            residual,
        };
        let config = RunConfig::new(settings(|settings| {
            settings.downlink.density = 0.1;
            settings.server_optimiser = Choice::named("none");
        }));
        let config = config.unwrap();
        let mut contributions = Contributions::new(&config, Arc::new(base));
        if let Some(change) = stored {
            let mut bytes = bytes;
            let kept = |version, bytes| (Version(version), Arc::new(Elsewhere(bytes)) as Arc<dyn Stored>);
            contributions.set_aside(Some(&kept(2, Vec::new())));
            change(&mut bytes);
            contributions.set_aside(Some(&kept(3, bytes)));
            assert!(contributions.base.residual.is_empty());
        }
        let entries = (0..layout.len() as u32).step_by(3).map(|index| (index, index as f32 * 1e-6)).collect();
        let update = Admitted::new(&layout, Checked::Entries(entries), Payload::default());
        contributions.add(&config, &client("a"), &header(config.run(), 1, 3, &[]), &update).unwrap();
        contributions.make_version(&config)
    }

    #[test]
    fn what_was_left_out_waits_elsewhere_and_comes_back_as_it_was() {
        let expected = made(None).unwrap();
        assert!(expected.0.residual.iter().any(|ticks| *ticks != 0));
        assert_eq!(made(Some(|_| {})).unwrap(), expected);
        made(Some(|bytes| bytes[4 * TILE + 9] ^= 1)).unwrap_err();
    }

    #[test]
    fn sizes_are_held_against_their_limits_over_all_updates() {
        let spec = |name: &str, len| TensorSpec { name: name.into(), shape: vec![len], scope: Scope::Shared };
        let layout = Layout::new(vec![spec("a", 100), spec("b", 900)]).unwrap();
        let entries = |count: u32, step: u32| -> Vec<(u32, f32)> {
            (0..count).map(|number| (number * step, if number % 2 == 0 { 1.0 } else { -1.0 })).collect()
        };
        let updates = [(entries(10, 30), 20), (entries(40, 10), 90)];
        let accounts = updates.map(|(entries, bytes)| Account::of(&layout, &entries, bytes));
        let mut sums = Accounts::default();
        assert_eq!(
            (sums.bits_per_entry(), sums.over_entropy(), sums.over_tensor_entropy()),
            (None, None, None)
        );
        accounts.iter().for_each(|account| sums.add(account));
        assert_eq!((sums.entries, sums.bits_per_entry()), (50, Some(8.0 * 110.0 / 50.0)));
        let [one, other] = accounts;
        let limit = |mask: fn(&Account) -> f64| {
            let bits = |account: &Account| account.entries as f64 * (mask(account) + account.value_entropy);
            bits(&one) + bits(&other)
        };
        for (found, mask) in [
            (sums.over_entropy(), Account::mask_bits_per_entry as fn(&Account) -> f64),
            (sums.over_tensor_entropy(), Account::tensor_mask_bits_per_entry),
        ] {
            assert!((found.unwrap() - 8.0 * 110.0 / limit(mask)).abs() < 1e-4);
        }
    }
}
