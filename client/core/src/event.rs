//! What can happen to a client.

use protocol::id::Version;
use protocol::message::{Receipt, ToClient};
use protocol::train::{EvaluateOutcome, Prepared, TrainError, TrainOutcome};

pub use crate::download::{FetchError, FetchedModel};

/// What can happen. Drivers deliver events one at a time, with the time at which they happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The session to the coordinator is open.
    Connected,
    /// The session could not be opened, or ended.
    Disconnected {
        /// One line.
        reason: String,
    },
    /// The coordinator said something.
    Instruction(ToClient),
    /// Answer to `Effect::Prepare`, as `Trainer::take_up` gives it.
    Prepared(Result<Prepared, TrainError>),
    /// Answer to `Effect::Fetch`.
    Fetched {
        /// The version.
        version: Version,
        /// The version, checked against its digest, or why it could not be had.
        model: Result<FetchedModel, FetchError>,
    },
    /// Answer to `Effect::Train`.
    Trained(Result<TrainOutcome, TrainError>),
    /// Answer to `Effect::Evaluate`.
    Evaluated(Result<EvaluateOutcome, TrainError>),
    /// Answer to `Effect::Upload`: the coordinator's receipt, or why there is none (the upload will be tried again).
    Uploaded(Result<Receipt, String>),
    /// The deadline given by `Client::deadline` has come.
    Tick,
    /// The operator asks to stop.
    Stop,
}
