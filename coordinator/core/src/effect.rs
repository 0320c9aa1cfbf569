//! What a coordinator asks of the world. Effects come in order: nothing after a `Journal` effect is performed before that
//! record is durable.

use std::sync::Arc;

use params::Digest;
use protocol::id::ClientId;
use protocol::message::{Receipt, ToClient};
use protocol::plan::ModelSpec;

use crate::broadcast::Moves;
use crate::journal::Record;
use crate::published::Published;
use crate::report::RoundReport;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append to the journal, durably.
    Journal(Record),
    /// Build the start of the run; answered by `Event::Initialised`.
    Initialise {
        /// Architecture and frozen classes.
        spec: ModelSpec,
        /// Seed of the initial weights.
        seed: u64,
    },
    /// Store a version durably and serve it to clients that ask. Said again for the same version once its statistics are
    /// pooled: the later one replaces the earlier, weights and digest being equal. With how its weights have moved, where that is known.
    Publish(Arc<Published>, Option<Arc<Moves>>),
    /// Push an instruction to a connected client.
    Send {
        /// To whom.
        client: ClientId,
        /// What.
        instruction: ToClient,
    },
    /// Answer an upload.
    Receipt {
        /// To whom.
        client: ClientId,
        /// Digest of the payload answered for.
        payload: Digest,
        /// The answer.
        receipt: Receipt,
    },
    /// Score a version on the coordinator's own data; answered by `Event::Scored`.
    Score {
        /// Architecture and classes.
        spec: ModelSpec,
        /// The version.
        published: Arc<Published>,
    },
    /// A round is over: show it, store it (a report of the same round replaces an earlier one).
    Report(Box<RoundReport>),
    /// Say something to the operator (one line).
    Notice(String),
    /// The run is over (or halted); the driver may end once everything before is performed.
    Halt {
        /// One line.
        reason: String,
        /// Whether all rounds were run.
        complete: bool,
    },
}
