//! What can happen to a coordinator.

use std::sync::Arc;

use codec::account::Account;
use codec::payload::{Payload, Stored};
use codec::tiles::Checked;
use params::Layout;
use protocol::evaluation::{CentralScore, Evaluation};
use protocol::id::{ClientId, Round, Version};
use protocol::message::{Hello, Refusal, UpdateHeader};

/// What can happen. Drivers deliver events one at a time, with the time at which they happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client opened a session and introduced itself (also: came back).
    Connected {
        /// Who, by certificate.
        client: ClientId,
        /// What it said.
        hello: Hello,
    },
    /// A client's session ended. Not told of a session that a newer one of the same client has replaced.
    Disconnected {
        /// Who.
        client: ClientId,
    },
    /// Answer to [`crate::effect::Effect::Initialise`].
    Initialised {
        /// The start of the run.
        initial: InitialModel,
    },
    /// A client has fetched a version whole; told before anything that the client does with it.
    Fetched {
        /// Payload bytes of the fetch.
        bytes: u64,
    },
    /// An upload arrived whole and went through [`crate::admit::admit`].
    Uploaded {
        /// Who.
        client: ClientId,
        /// Its header.
        header: UpdateHeader,
        /// The decoded update with its bytes, or why it cannot count.
        update: Result<Arc<Admitted>, Refusal>,
    },
    /// A version was published, and what it leaves out can be read from where it is stored, as little-endian i32: so it need not wait
    /// in memory. Nobody has to say so.
    Kept {
        /// The version.
        version: Version,
        /// What it leaves out.
        residual: Arc<dyn Stored>,
    },
    /// A client answered an evaluation.
    Evaluated {
        /// Who.
        client: ClientId,
        /// Of which version.
        version: Version,
        /// What it said.
        evaluation: Evaluation,
    },
    /// A client cannot do what the plan asks.
    Declined {
        /// Who.
        client: ClientId,
        /// In which round.
        round: Round,
        /// Why.
        reason: String,
    },
    /// Answer to [`crate::effect::Effect::Score`].
    Scored {
        /// Of which version.
        version: Version,
        /// The score, or one line why there is none.
        score: Result<CentralScore, String>,
    },
    /// The deadline given by `Coordinator::deadline` has come.
    Tick,
    /// The operator asks to stop: finish or abandon the round, then halt.
    Stop,
}

/// Where a run starts: the full layout, and the values of shared and statistic scope.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialModel {
    /// All tensors, all scopes.
    pub layout: Arc<Layout>,
    /// Values of scope `Shared`, in that scope's layout order.
    pub shared: Vec<f32>,
    /// Values of scope `Statistic`.
    pub statistics: Vec<f32>,
}

/// An update that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Its values, or that they are added from the payload.
    pub update: Checked,
    /// The bytes as received, for the journal.
    pub payload: Payload,
    /// Its size against its limits, if it leaves values out.
    pub account: Option<Account>,
}

impl Admitted {
    /// A `payload` that holds this `update` to the shared tensors of `layout`.
    pub fn new(layout: &Layout, update: Checked, payload: Payload) -> Self {
        let account = match &update {
            Checked::Entries(entries) => Some(Account::of(layout, entries, payload.len())),
            Checked::InPlace => None,
        };
        Self { update, payload, account }
    }
}
