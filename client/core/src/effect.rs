//! What a client asks of the world, in order: nothing after a `Persist` effect is performed before it is durable.
//!
//! Every `Connect`, `Prepare`, `Fetch`, `Train`, `Evaluate` and `Upload` is answered by exactly one event, also when the
//! connection is lost in between. A job may be asked for while another one runs (of a run or round that is over): it
//! waits for that one, and both are answered in order.

use std::sync::Arc;

use params::Digest;
use protocol::id::Version;
use protocol::message::{ToCoordinator, UpdateHeader};
use protocol::plan::ModelSpec;
use protocol::train::{EvaluateJob, TrainJob};

use crate::download::FetchedModel;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Open a session; answered by `Event::Connected` or `Event::Disconnected`.
    Connect,
    /// Say something over the session.
    Send(ToCoordinator),
    /// Build the model, so that later jobs can run (`Trainer::take_up`); answered by `Event::Prepared`.
    Prepare {
        /// The model.
        spec: ModelSpec,
        /// Seed of the run.
        seed: u64,
    },
    /// Fetch a version and check it against the digest of its shared weights; answered by `Event::Fetched`.
    Fetch {
        /// The version.
        version: Version,
        /// Expected digest.
        model_digest: Digest,
        /// What is held, from which less may lead there than the whole version.
        held: Option<Arc<FetchedModel>>,
    },
    /// Train; answered by `Event::Trained`.
    Train(Box<TrainJob>),
    /// Evaluate; answered by `Event::Evaluated`.
    Evaluate(Box<EvaluateJob>),
    /// Upload; answered by `Event::Uploaded`.
    Upload {
        /// The header.
        header: UpdateHeader,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// Store state under a name, durably and atomically.
    Persist {
        /// One of the names in `client_core::state`.
        name: &'static str,
        /// Encoded state.
        bytes: Vec<u8>,
    },
    /// Say something to the device's owner (one line).
    Notice(String),
    /// The run has ended, or this client was refused for good; the driver ends.
    Halt {
        /// One line.
        reason: String,
        /// Whether this is the run's normal end.
        complete: bool,
    },
}
