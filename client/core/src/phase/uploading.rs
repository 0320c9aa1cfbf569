//! The update is on its way until there is a receipt: the same bytes, as often as it takes.

use std::time::Duration;

use codec::residual::Residual;
use protocol::message::{Receipt, Refusal};
use protocol::plan::RoundPlan;
use protocol::time::Timestamp;

use super::{Member, Phase, Turn};
use crate::effect::Effect;
use crate::retry::Attempt;
use crate::state::{OUTGOING, Outgoing, RECEIPT, encode_receipt};

/// An upload. What is uploaded is in the member's `outgoing`.
#[derive(Debug)]
pub(super) struct Uploading {
    pub(super) attempt: Attempt,
    /// When the last attempt began.
    began: Timestamp,
    /// How long those before it took; `None` when some were made before a restart.
    spent: Option<Duration>,
}

impl Uploading {
    pub(super) fn new() -> Self {
        Self { attempt: Attempt::new(), began: Timestamp::START, spent: Some(Duration::ZERO) }
    }

    /// One of an earlier start.
    pub(super) fn resumed() -> Self {
        Self { spent: None, ..Self::new() }
    }
}

impl Outgoing {
    /// Whether the update that waits for its receipt follows this plan.
    pub(super) fn is_for(&self, plan: &RoundPlan) -> bool {
        match self {
            Self::Unanswered { header, .. } => (header.round, header.version) == (plan.round, plan.version),
            Self::Settled(_) => false,
        }
    }
}

impl Member {
    pub(super) fn upload(&mut self, turn: &mut Turn<'_>) {
        let Phase::Uploading(uploading) = &mut self.phase else { return };
        let Outgoing::Unanswered { header, pending } = &self.outgoing else { return };
        if uploading.attempt.start(turn.now, turn.joined) {
            uploading.began = turn.now;
            let (header, payload) = (header.clone(), pending.payload().to_vec());
            turn.out.push(Effect::Upload { header, payload });
        }
    }

    pub(crate) fn uploaded(&mut self, receipt: Result<Receipt, String>, turn: &mut Turn<'_>) {
        let Phase::Uploading(uploading) = &mut self.phase else { return };
        if let Some(spent) = &mut uploading.spent {
            *spent += turn.now.since(uploading.began);
        }
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(reason) => {
                uploading.attempt.failed(turn.now, turn.backoff);
                turn.notice(format!("upload failed: {reason}; it will be tried again"));
                return;
            }
        };
        let took = uploading.spent;
        self.phase = Phase::Idle;
        self.settle(&receipt, took, turn);
        self.proceed(turn);
        // Those that evaluate the next version store that one instead.
        self.store_version(2, turn);
    }

    /// Accepted: what was sent is gone for good. Refused for whatever reason: it is held back again.
    fn settle(&mut self, receipt: &Receipt, took: Option<Duration>, turn: &mut Turn<'_>) {
        let nothing = Outgoing::Settled(Residual::new(self.lineage()));
        let Outgoing::Unanswered { header, pending } = std::mem::replace(&mut self.outgoing, nothing) else {
            return;
        };
        match (receipt, took) {
            (Receipt::Accepted { .. }, Some(took)) => self.uplink.arrived(header.length, took),
            (Receipt::Refused(Refusal::Late { .. }), Some(took)) => {
                self.uplink.came_late(header.length, took)
            }
            _ => {}
        }
        match receipt {
            Receipt::Accepted { round } => {
                self.outgoing = Outgoing::Settled(pending.commit());
                turn.persist(RECEIPT, encode_receipt(&header));
                turn.notice(format!("round {round}: update of {} bytes accepted", header.length));
            }
            Receipt::Refused(refusal) => {
                self.outgoing = Outgoing::Settled(pending.restore().rounded());
                turn.persist(OUTGOING, self.outgoing.encode(&self.pace));
                turn.notice(format!(
                    "round {}: update refused, {refusal}; what it held is kept",
                    header.round
                ));
            }
        }
    }
}
