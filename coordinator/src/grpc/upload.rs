//! An upload: header, the word to go on, chunks, then the check of the whole on a worker thread, then the driver, then the
//! receipt.

use std::sync::Arc;
use std::time::Duration;

use coordinator_core::admit::{admit, precheck};
use protocol::id::ClientId;
use protocol::message::{Receipt, Refusal, UpdateHeader};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};
use wire::chunk::{ChunkError, UploadReply};
use wire::proto::upload_part::Kind;
use wire::status::CallError;
use wire::{decode, encode, proto};

use super::answers::answers;
use super::{Answering, Answers, FederationService, next};
use crate::driver::Input;
use crate::ingest::{Partial, Turn};
use crate::limits::{FIRST_MESSAGE_TIME, UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_TIME};

type Replies = Answering<proto::UploadReply>;

/// Answers at once with the stream of replies; the rest happens beside it.
pub(super) fn begin(
    service: &FederationService,
    client: ClientId,
    stream: Streaming<proto::UploadPart>,
) -> Answers<proto::UploadReply> {
    // The word to go on, and the receipt.
    let (replies, stream_of_replies) = answers(2);
    let service = service.clone();
    tokio::spawn(async move {
        let receipt = receive(&service, &client, stream, &replies).await;
        if let Err(status) = &receipt {
            tracing::debug!(%client, %status, "upload broke off");
        }
        let last = receipt.map(|receipt| encode::upload_reply(&UploadReply::Receipt(receipt)));
        replies.send(last).await;
    });
    stream_of_replies
}

async fn receive(
    service: &FederationService,
    client: &ClientId,
    mut stream: Streaming<proto::UploadPart>,
    replies: &Replies,
) -> Result<Receipt, Status> {
    let header = header(&mut stream).await?;
    let admission = service.admission.borrow().clone();
    if let Err(refusal) = precheck(&admission, client, &header) {
        // No need for the bytes: the core knows whether the same ones count already.
        return Box::pin(settle(service, client, header, Err(refusal))).await;
    }
    let entries_max = admission.open.as_ref().map_or(0, |open| open.entries_max);
    drop(admission);
    let mut turn = service.ingest.enter(client).await?;
    let mut partial = {
        let (ingest, client, header) = (service.ingest.clone(), client.clone(), header.clone());
        blocking(move || ingest.spool.open(&client, header)).await?
    };
    let length = header.length.into();
    let room = service.ingest.room_to_receive(length).await?;
    let from = UploadReply::From(partial.received());
    if !replies.send(Ok(encode::upload_reply(&from))).await {
        return Err(CallError::Stopping.into());
    }
    // Boxed, as most uploads at a time wait for their turn and need no room for this yet.
    partial = Box::pin(collect(stream, partial, length, &mut turn)).await?;
    let (mut partial, payload, in_place) = blocking(move || {
        let payload = partial.payload()?;
        let in_place = codec::tiles::in_place(&payload).map_err(std::io::Error::other)?;
        Ok((partial, payload, in_place))
    })
    .await?;
    let check = service.ingest.room_to_check(length, entries_max, in_place).await?;
    drop(room);
    let resumed = partial.is_resumed();
    let checked = {
        let (client, header) = (client.clone(), header.clone());
        // A round may have closed while the bytes came.
        let admission = service.admission.borrow().clone();
        spawn_blocking(move || {
            let (expected, found) = (header.payload_digest, payload.digest());
            // The parts do not belong together. Which one is wrong nobody knows, so this is no answer to the update.
            if resumed && found != expected {
                return Err(CallError::Chunk(ChunkError::Digest { expected, found }));
            }
            Ok(admit(&admission, &client, &header, payload).map(Arc::new))
        })
    };
    let update = checked.await.map_err(|error| CallError::Failed(error.to_string()))?;
    if partial.has_failed() {
        return Err(CallError::Failed("what has arrived cannot be read".to_owned()).into());
    }
    if matches!(update, Ok(Ok(_))) {
        // Before the core hears of it, and beside other uploads: its record needs only be appended then.
        partial = blocking(move || {
            partial.keep()?;
            Ok(partial)
        })
        .await?;
    }
    let receipt = match update {
        // Without a receipt the coordinator is ending; what is on disk is for its next start.
        Ok(update) => Ok(Box::pin(settle(service, client, header, update)).await?),
        Err(error) => Err(error.into()),
    };
    let counts = matches!(receipt, Ok(Receipt::Accepted { .. }));
    if let Err(error) = blocking(move || if counts { partial.counted() } else { partial.discard() }).await {
        // It goes with the next round.
        tracing::warn!(%client, %error, "an upload that is answered stays on disk");
    }
    drop((check, turn));
    receipt
}

async fn header(stream: &mut Streaming<proto::UploadPart>) -> Result<UpdateHeader, Status> {
    let order = |found| CallError::Order { expected: "the header of an update", found };
    let first = next(stream, FIRST_MESSAGE_TIME, "the header of an update").await?;
    match first.ok_or_else(|| order("the end"))?.kind {
        Some(Kind::Header(header)) => Ok(decode::update_header(&header).map_err(CallError::Decode)?),
        Some(Kind::Chunk(_)) => Err(order("a chunk").into()),
        None => Err(order("an empty part").into()),
    }
}

/// Takes in chunks until all are there. When they stop coming, what there is is put away for the next attempt.
async fn collect(
    mut stream: Streaming<proto::UploadPart>,
    mut partial: Partial,
    length: u64,
    turn: &mut Turn,
) -> Result<Partial, Status> {
    let time = UPLOAD_TIME + Duration::from_secs(length / UPLOAD_BYTES_PER_SECOND_MIN);
    let end = Instant::now() + time;
    let mut syncing = None;
    while partial.received() < length {
        let part = tokio::select! {
            part = timeout_at(end, stream.message()) => match part {
                Ok(part) => part,
                Err(_) => Err(CallError::TooSlow { what: "the whole update", seconds: time.as_secs() }.into()),
            },
            error = turn.over() => Err(error.into()),
        };
        let chunk = part.and_then(|part| chunk(part, &partial, length));
        match chunk.and_then(|chunk| Ok(partial.push(&chunk).map_err(CallError::Chunk)?)) {
            Ok(()) if partial.is_full() => {
                partial = put_away(partial).await?;
                if let Some(file) = partial.due_for_sync() {
                    finish(syncing.replace(spawn_blocking(move || file.sync_data()))).await?;
                }
            }
            Ok(()) => {}
            Err(status) => {
                put_away(partial).await?;
                return Err(status);
            }
        }
    }
    finish(syncing).await?;
    Ok(partial)
}

/// Waits for a sync that goes on beside the upload. One that failed must not be forgotten: the next may say that all is well.
async fn finish(syncing: Option<JoinHandle<std::io::Result<()>>>) -> Result<(), CallError> {
    match syncing {
        Some(syncing) => stored(syncing.await),
        None => Ok(()),
    }
}

fn chunk(part: Option<proto::UploadPart>, partial: &Partial, length: u64) -> Result<bytes::Bytes, Status> {
    match part {
        None => {
            Err(CallError::Chunk(ChunkError::Truncated { expected: length, found: partial.received() })
                .into())
        }
        Some(proto::UploadPart { kind: Some(Kind::Chunk(chunk)) }) => Ok(chunk),
        Some(_) => Err(CallError::Order { expected: "a chunk", found: "another part" }.into()),
    }
}

async fn put_away(mut partial: Partial) -> Result<Partial, CallError> {
    blocking(move || {
        partial.put_away()?;
        Ok(partial)
    })
    .await
}

/// Does something with files where blocking is allowed.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, CallError> {
    stored(spawn_blocking(act).await)
}

fn stored<T>(done: Result<std::io::Result<T>, JoinError>) -> Result<T, CallError> {
    let done = done.map_err(|error| CallError::Failed(error.to_string()))?;
    done.map_err(|error| CallError::Failed(format!("uploads cannot be stored: {error}")))
}

/// Gives the update to the driver and waits for its receipt.
async fn settle(
    service: &FederationService,
    client: &ClientId,
    header: UpdateHeader,
    update: Result<Arc<coordinator_core::Admitted>, Refusal>,
) -> Result<Receipt, Status> {
    let (answer, receipt) = oneshot::channel();
    let input = Input::Uploaded { client: client.clone(), header, update, answer };
    service.inputs.send(input).await.map_err(|_| CallError::Stopping)?;
    receipt.await.map_err(|_| CallError::Stopping.into())
}
