//! What reaches the driver, and sessions as it sees them.

use std::sync::Arc;

use coordinator_core::{Admitted, Event};
use protocol::id::ClientId;
use protocol::message::{Hello, Receipt, Refusal, ToCoordinator, UpdateHeader};
use tokio::sync::oneshot;
use wire::proto;
use wire::status::CallError;

use crate::grpc::Answering;

/// What reaches the driver.
pub(crate) enum Input {
    /// An event as the core knows it.
    Core(Event),
    /// A client opened a session and said hello.
    Opened { client: ClientId, hello: Hello, session: Session },
    /// A session ended; `goodbye` if the client ended it of its own accord.
    Closed { client: ClientId, session: u64, goodbye: bool },
    /// A client said something over its session.
    Said { client: ClientId, message: ToCoordinator },
    /// An upload arrived and was checked.
    Uploaded {
        client: ClientId,
        header: UpdateHeader,
        update: Result<Arc<Admitted>, Refusal>,
        answer: oneshot::Sender<Receipt>,
    },
    /// The run cannot go on.
    Failed(String),
}

/// What a message of a session means to the core.
pub(super) fn event_of_message(client: ClientId, message: ToCoordinator) -> Option<Event> {
    match message {
        // The service lets a hello through as the first message only, and that is `Input::Opened`.
        ToCoordinator::Hello(_) => None,
        ToCoordinator::Evaluated { version, evaluation } => {
            Some(Event::Evaluated { client, version, evaluation })
        }
        ToCoordinator::Declined { round, reason } => Some(Event::Declined { client, round, reason }),
    }
}

/// The way to a connected client. Dropping it ends the session.
pub(crate) struct Session {
    number: u64,
    outgoing: Answering<proto::ToClient>,
    /// Dropped with the session: tells the task that listens to the client.
    _ended: oneshot::Sender<()>,
}

impl Session {
    pub(crate) fn new(number: u64, outgoing: Answering<proto::ToClient>, ended: oneshot::Sender<()>) -> Self {
        Self { number, outgoing, _ended: ended }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Queues an instruction; whether there was room.
    pub(super) fn send(&self, instruction: proto::ToClient) -> bool {
        self.outgoing.try_send(Ok(instruction))
    }

    /// Tells the client why its session ends.
    pub(super) fn end(&self, reason: CallError) {
        self.outgoing.try_send(Err(super::status(reason)));
    }
}
