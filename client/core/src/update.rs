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

/// Encodes what training changed in the shared values, `base` being the published ones, together with what `residual`
/// holds back.
pub(crate) fn prepare(
    plan: &RoundPlan,
    run: RunId,
    shared: &Layout,
    base: &[f32],
    residual: &Residual,
    outcome: &TrainOutcome,
) -> Result<(UpdateHeader, Pending), UpdateError> {
    let trained = &outcome.model.shared;
    let delta: Vec<f32> = trained.iter().zip(base).map(|(trained, base)| trained - base).collect();
    let feedback = Feedback { decay: plan.uplink.residual_decay.clamp(0.0, 1.0), guard: None };
    let codec = codec_with(&plan.uplink, codec::round_mask(run.0, plan.round.0))?;
    let pending = residual.prepare(&*codec, shared, delta, feedback)?;
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
    Ok((header, pending))
}

/// Why there is nothing to send.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("training changed the model beyond measure: {0}")]
    Values(#[from] EncodeError),
}
