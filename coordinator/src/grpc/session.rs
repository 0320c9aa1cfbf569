//! A session: what the client says goes to the driver, what the driver says goes to the client.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::id::ClientId;
use protocol::message::ToCoordinator;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};
use wire::status::CallError;
use wire::{decode, proto};

use super::answers::answers;
use super::{Answering, Answers, next};
use crate::driver::{Input, Session};
use crate::limits::{FIRST_MESSAGE_TIME, INSTRUCTIONS_MAX};

/// Sessions are numbered, so that the end of an old one is not taken for the end of its successor.
static NUMBER: AtomicU64 = AtomicU64::new(0);

type Outgoing = Answering<proto::ToClient>;

/// Answers at once with the stream of instructions; the rest happens beside it.
pub(super) fn begin(
    inputs: mpsc::Sender<Input>,
    client: ClientId,
    mut incoming: Streaming<proto::ToCoordinator>,
) -> Answers<proto::ToClient> {
    let (outgoing, instructions) = answers(INSTRUCTIONS_MAX);
    tokio::spawn(async move {
        if let Err(status) = listen(&inputs, &client, &mut incoming, &outgoing).await {
            tracing::debug!(%client, %status, "session ended");
            outgoing.try_send(Err(status));
        }
    });
    instructions
}

async fn listen(
    inputs: &mpsc::Sender<Input>,
    client: &ClientId,
    incoming: &mut Streaming<proto::ToCoordinator>,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let first = Box::pin(next(incoming, FIRST_MESSAGE_TIME, "hello")).await?;
    let Some(first) = first else { return Ok(()) };
    let hello = match decode::to_coordinator(first).map_err(CallError::Decode)? {
        ToCoordinator::Hello(hello) => hello,
        ToCoordinator::Evaluated { .. } | ToCoordinator::Declined { .. } => {
            let found = "another message of a session";
            return Err(CallError::Order { expected: "hello", found }.into());
        }
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (ended, mut end) = oneshot::channel();
    let session = Session::new(number, outgoing.clone(), ended);
    say(inputs, Input::Opened { client: client.clone(), hello, session }).await?;
    let result = tokio::select! {
        result = forward(inputs, client, incoming) => result,
        // The driver has ended the session: it was replaced, refused, too slow, or the run is over.
        _ = &mut end => return Ok(()),
    };
    // Whatever was wrong, the core must hear that the client is gone.
    let goodbye = result.is_ok();
    say(inputs, Input::Closed { client: client.clone(), session: number, goodbye }).await?;
    result
}

async fn forward(
    inputs: &mpsc::Sender<Input>,
    client: &ClientId,
    incoming: &mut Streaming<proto::ToCoordinator>,
) -> Result<(), Status> {
    while let Some(message) = incoming.message().await? {
        let message = decode::to_coordinator(message).map_err(CallError::Decode)?;
        if matches!(message, ToCoordinator::Hello(_)) {
            return Err(CallError::Order { expected: "an answer", found: "a second hello" }.into());
        }
        say(inputs, Input::Said { client: client.clone(), message }).await?;
    }
    Ok(())
}

async fn say(inputs: &mpsc::Sender<Input>, input: Input) -> Result<(), Status> {
    inputs.send(input).await.map_err(|_| CallError::Stopping.into())
}
