//! The outgoing pipeline: what training changed -> plus what was held back -> codec -> pending -> receipt.
//!
//! Everything that is ever uploaded is made here, from shared values alone.

use codec::residual::{Feedback, Lineage, Pending, Residual};
use codec::{Codec, EncodeError, Settings, SettingsError};
use params::{Digest, Layout};
use protocol::id::RunId;
use protocol::message::UpdateHeader;
use protocol::plan::{RoundPlan, UplinkPlan};
use protocol::train::TrainOutcome;

/// The codec a plan asks for, in any round.
pub(crate) fn codec_of(plan: &UplinkPlan) -> Result<Box<dyn Codec>, SettingsError> {
    codec_with(plan, 0)
}

/// The codec a plan asks for in the round with this mask.
fn codec_with(plan: &UplinkPlan, mask: u32) -> Result<Box<dyn Codec>, SettingsError> {
    let &UplinkPlan { density, floor, value_bits, budget_bytes: budget, .. } = plan;
    codec::build(&plan.codec, &Settings { density, floor, value_bits, budget, mask, ..Settings::default() })
}

/// What a residual of this run and layout belongs to.
pub(crate) fn lineage(run: RunId, shared: &Layout) -> Lineage {
    Lineage { run: run.0, layout: shared.digest() }
}

/// What a device has learned in a round, and what it held back before.
pub(crate) struct Learned<'a> {
    /// The shared tensors.
    pub(crate) shared: &'a Layout,
    /// Their published values, from which training started.
    pub(crate) base: &'a [f32],
    /// What training made of them.
    pub(crate) outcome: &'a TrainOutcome,
    /// What is held back.
    pub(crate) residual: &'a Residual,
    /// The share of it that remains for its age, 0 to 1.
    pub(crate) kept: f32,
}

/// Encodes what training changed in the shared values together with what was held back, as the plan says; but in at most `fits` bytes,
/// if the codec can: then what the plan would have sent comes third.
pub(crate) fn prepare(
    plan: &RoundPlan,
    run: RunId,
    learned: &Learned<'_>,
    fits: Option<u32>,
) -> Result<(UpdateHeader, Pending, Option<usize>), UpdateError> {
    let &Learned { shared, base, outcome, residual, kept } = learned;
    let decay = plan.uplink.residual_decay.clamp(0.0, 1.0) * kept;
    let feedback = Feedback { decay, guard: plan.uplink.residual_guard };
    let mask = codec::round_mask(run.0, plan.round.0);
    let encode = |codec: &dyn Codec| {
        let trained = &outcome.model.shared;
        let delta = trained.iter().zip(base).map(|(trained, base)| trained - base).collect();
        residual.prepare(codec, shared, delta, feedback)
    };
    let codec = codec_with(&plan.uplink, mask)?;
    let mut pending = encode(&*codec)?;
    let planned = pending.payload().len();
    let mut shortened = None;
    if let Some(fits) = fits.filter(|&fits| planned > fits as usize)
        // All devices of a round share its mask: with fewer values, this one would send other ones.
        && codec::mask_of(pending.payload()).is_none()
    {
        let short =
            encode(&*codec_with(&UplinkPlan { budget_bytes: Some(fits), ..plan.uplink.clone() }, mask)?)?;
        // Within what the coordinator admits by the plan.
        if short.payload().len() < planned && short.entries().len() <= codec.entries_max(shared) {
            (pending, shortened) = (short, Some(planned));
        }
    }
    let header = UpdateHeader {
        run,
        round: plan.round,
        version: plan.version,
        layout: shared.digest(),
        examples: outcome.examples,
        steps: outcome.steps,
        // A cast from f32 saturates, and makes 0 of NaN.
        loss_milli: (outcome.loss * 1000.0).round() as u32,
        length: pending.payload().len() as u32,
        payload_digest: Digest::of(&[pending.payload()]),
    };
    Ok((header, pending, shortened))
}

/// Why there is nothing to send.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("training changed the model beyond measure: {0}")]
    Values(#[from] EncodeError),
}
