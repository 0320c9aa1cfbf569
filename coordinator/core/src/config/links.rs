//! How much of an update and of a version is sent, over the whole run.
//!
//! Young weights move far and everywhere, so runs begin denser and thin out (Lin et al. 2018, section 3.3: 25 % to 0.1 %). And towards the
//! end nothing comes that could bring what was left out: what devices and coordinator still hold back then weighs several times
//! what is learned, so the last versions are denser again.

use codec::{Codec, SettingsError};
use protocol::id::Version;
use protocol::plan::UplinkPlan;
use serde::{Deserialize, Serialize};

/// Compression of updates, over the whole run. [`UplinkSettings::plan`] cuts out one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UplinkSettings {
    /// Codec by registry name.
    pub codec: String,
    /// Share of shared values that are sent, above 0 to 1.
    pub density: f32,
    /// Share of a tensor that is sent at least (never less than one value), 0 to `density`.
    pub floor: f32,
    /// Share that the first version's updates send, if that is more than `density`; from there it falls geometrically.
    pub warm_up_density: f32,
    /// Versions after which the share has fallen to `density`; 0: it is `density` from the start.
    pub warm_up_rounds: u32,
    /// Share that the last version's updates send, if that is more than `density`.
    pub last_density: f32,
    /// Versions over which the share rises to `last_density`, geometrically; 0: it does not rise.
    pub last_rounds: u32,
    /// What remains of the unsent residual at each participation, 0 to 1.
    pub residual_decay: f32,
    /// Versions over which that falls from 1 to `residual_decay`, in equal steps: what is held back is not stale yet.
    pub decay_rounds: u32,
    /// Largest norm of what is held back of a tensor, relative to that of what training has just changed in it. None unless given: towards the
    /// end of a run, when little is learned, what is held back may well be several times as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_guard: Option<f32>,
    /// By how many times the mean of the updates a version moves, 1 to 4, while they are as sparse as `density` says. What waits on devices
    /// fades, so that of what they learn a part never arrives; a longer step makes up for it. 2 helped twenty devices with few images each
    /// (one seed), and was too long from pre-trained weights.
    pub gain: f64,
    /// Bits per value, sign included.
    pub value_bits: u8,
    /// Most bytes of an update, from which the codec chooses what is sent instead of from the densities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u32>,
}

impl Default for UplinkSettings {
    /// 1.6 % of the values in 2 bits each, 1 % from every tensor at least, residual decayed by 0.9: with `light` training about 1/280 of dense
    /// f32. The first four versions fall to that from 20 %, which then is nearly all that trains, and the last three rise from it to 12 %.
    fn default() -> Self {
        let UplinkPlan { codec, density, floor, residual_decay, residual_guard, value_bits, budget_bytes } =
            UplinkPlan::default();
        Self {
            codec,
            density,
            floor,
            warm_up_density: 0.2,
            warm_up_rounds: 4,
            last_density: 0.12,
            last_rounds: 3,
            residual_decay,
            decay_rounds: 0,
            residual_guard,
            gain: 1.0,
            value_bits,
            budget_bytes,
        }
    }
}

impl UplinkSettings {
    /// The plan of the round that starts from `version`, in a run of so many `rounds`.
    ///
    /// The schedule follows versions, not attempts: an abandoned round is tried again at the same density.
    pub fn plan(&self, version: Version, rounds: u32) -> UplinkPlan {
        UplinkPlan {
            codec: self.codec.clone(),
            density: self.density_at(version, rounds),
            floor: self.floor,
            residual_decay: self.decay(version),
            residual_guard: self.residual_guard,
            value_bits: self.value_bits,
            budget_bytes: self.budget_bytes,
        }
    }

    /// The plan between the first rounds and the last.
    pub fn steady(&self) -> UplinkPlan {
        self.plan(Version(self.warm_up_rounds.max(self.decay_rounds)), u32::MAX)
    }

    /// By how many times their mean the updates that start from `version` move it, if they leave values out.
    pub(crate) fn gain(&self, version: Version, rounds: u32) -> f64 {
        if self.density_at(version, rounds) > self.density { 1.0 } else { self.gain }
    }

    fn density_at(&self, version: Version, rounds: u32) -> f32 {
        let density = Schedule {
            density: self.density,
            first: (self.warm_up_density, self.warm_up_rounds),
            last: (self.last_density, self.last_rounds),
        };
        density.at(version.0, rounds)
    }

    fn decay(&self, version: Version) -> f32 {
        let progress = f64::from(version.0) / f64::from(self.decay_rounds.max(1));
        let start = if self.decay_rounds == 0 { self.residual_decay } else { 1.0 };
        start + (self.residual_decay - start) * progress.min(1.0) as f32
    }
}

/// The codec that a plan asks for, as far as a receiver is concerned (in whichever round).
///
/// # Errors
/// An unknown name, or settings out of range.
pub fn codec_of(plan: &UplinkPlan) -> Result<Box<dyn Codec>, SettingsError> {
    let UplinkPlan { density, floor, value_bits, budget_bytes: budget, .. } = *plan;
    codec::build(
        &plan.codec,
        &codec::Settings { density, floor, value_bits, budget, ..codec::Settings::default() },
    )
}

/// How much of a version is published at once. What is left out stays with the coordinator and goes with a later version; all
/// devices, and the exported model, have what is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DownlinkSettings {
    /// Share of the weights that a version changes, 0..1; 0: all that any update changes, exactly.
    pub density: f32,
    /// Share of every tensor that changes at least, 0 to `density`.
    pub floor: f32,
    /// Share of the weights that the first version changes, if that is more than `density`; from there it falls geometrically.
    pub warm_up_density: f32,
    /// Versions after which the share has fallen to `density`; 0: it is `density` from the start.
    pub warm_up_rounds: u32,
    /// Share of the weights that the last version changes, if that is more than `density`.
    pub last_density: f32,
    /// Versions over which the share rises to `last_density`, geometrically; 0: it does not rise.
    pub last_rounds: u32,
    /// Step of published batch-norm statistics, standard deviations; taken as the power of two below, 1/256 to 1/8.
    pub statistics_step: f32,
    /// The same of the last version, if that is less.
    pub last_statistics_step: f32,
}

impl Default for DownlinkSettings {
    /// Three times the share that an update sends; at the ends it falls and rises as that does. With a third of it, blood cells lagged by
    /// five points of AP50 at mid-run.
    fn default() -> Self {
        Self {
            density: 0.05,
            floor: 0.001,
            warm_up_density: 0.25,
            warm_up_rounds: 4,
            last_density: 0.2,
            last_rounds: 3,
            statistics_step: 1.0 / 8.0,
            last_statistics_step: 1.0 / 64.0,
        }
    }
}

impl DownlinkSettings {
    /// Shares for the published `version` (1 is the first that updates lead to) in a run of so many `rounds`: of the weights, and of every
    /// tensor at least; `None` for exact ones.
    pub(crate) fn share(&self, version: Version, rounds: u32) -> Option<(f32, f32)> {
        let density = Schedule {
            density: self.density,
            first: (self.warm_up_density, self.warm_up_rounds),
            last: (self.last_density, self.last_rounds),
        };
        let before = version.0.saturating_sub(1);
        (self.density > 0.0).then(|| (density.at(before, rounds), self.floor))
    }

    /// The shares between the first versions and the last.
    pub(crate) fn steady(&self) -> Option<(f32, f32)> {
        self.share(Version(self.warm_up_rounds.saturating_add(1)), u32::MAX)
    }

    /// The step of a version's statistics as a power of two of their codes.
    pub(crate) fn statistics_shift(&self, version: Version, rounds: u32) -> u32 {
        let last = if version.0 == rounds { self.last_statistics_step } else { f32::INFINITY };
        let codes = (256.0 * self.statistics_step.min(last)).max(1.0) as u32;
        codes.ilog2().min(codec::statistics::codes::STEP_SHIFT_MAX)
    }
}

/// A share over the versions of a run.
struct Schedule {
    /// Between beginning and end.
    density: f32,
    /// At the first version, and over how many it falls to `density`.
    first: (f32, u32),
    /// At the last version, and over how many it rises to that.
    last: (f32, u32),
}

impl Schedule {
    /// The share on the way from `version` to the next.
    fn at(&self, version: u32, rounds: u32) -> f32 {
        let left = rounds.saturating_sub(version.saturating_add(1));
        let end = |(share, versions), away| falling(share, self.density, away, versions);
        end(self.first, version).max(end(self.last, left))
    }
}

/// `start` at 0, `end` at `steps` and from then on, in equal ratios between; `end` throughout unless `start` is more.
fn falling(start: f32, end: f32, step: u32, steps: u32) -> f32 {
    if step >= steps || start <= end {
        return end;
    }
    let progress = f64::from(step) / f64::from(steps);
    (f64::from(start) * (f64::from(end) / f64::from(start)).powf(progress)) as f32
}
