//! An upload: header, chunks, then the check of the whole on a worker thread, then the driver, then the receipt.

use coordinator_core::admit::{admit, precheck};
use protocol::id::ClientId;
use protocol::message::{Receipt, Refusal, UpdateHeader};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};
use wire::chunk::Joiner;
use wire::proto::upload_part::Kind;
use wire::status::CallError;
use wire::{decode, proto};

use super::{FederationService, next};
use crate::driver::Input;
use crate::limits::{FIRST_MESSAGE_TIME, UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_TIME};

pub(super) async fn receive(
    service: &FederationService,
    client: ClientId,
    mut stream: Streaming<proto::UploadPart>,
) -> Result<Receipt, Status> {
    let header = header(&mut stream).await?;
    let admission = service.admission.borrow().clone();
    if let Err(refusal) = precheck(&admission, &client, &header) {
        // No need for the bytes: the core knows whether the same ones count already.
        return settle(service, client, header, Err(refusal)).await;
    }
    // At least one, at most what the limits allow; waits while too much is under way.
    let kib = header.length.div_ceil(1 << 10).max(1);
    let memory = service.uploads.acquire_many(kib).await.map_err(|_| CallError::Stopping)?;
    let payload = payload(&mut stream, &header).await?;
    let checked = {
        let (client, header) = (client.clone(), header.clone());
        // A round may have closed while the bytes came.
        let admission = service.admission.borrow().clone();
        tokio::task::spawn_blocking(move || admit(&admission, &client, &header, payload).map(Arc::new))
    };
    let update = checked.await.map_err(|error| CallError::Failed(error.to_string()))?;
    let receipt = settle(service, client, header, update).await;
    drop(memory);
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

async fn payload(
    stream: &mut Streaming<proto::UploadPart>,
    header: &UpdateHeader,
) -> Result<Vec<u8>, Status> {
    let length = u64::from(header.length);
    let time = UPLOAD_TIME + Duration::from_secs(length / UPLOAD_BYTES_PER_SECOND_MIN);
    let end = Instant::now() + time;
    let mut joiner = Joiner::new(length, header.payload_digest);
    while joiner.received() < length {
        let part = timeout_at(end, stream.message()).await;
        let slow = |_| CallError::TooSlow { what: "the whole update", seconds: time.as_secs() };
        let Some(part) = part.map_err(slow)?? else { break };
        match part.kind {
            Some(Kind::Chunk(chunk)) => joiner.push(&chunk).map_err(CallError::Chunk)?,
            Some(Kind::Header(_)) | None => {
                return Err(CallError::Order { expected: "a chunk", found: "another part" }.into());
            }
        }
    }
    Ok(joiner.complete().map_err(CallError::Chunk)?)
}

/// Gives the update to the driver and waits for its receipt.
async fn settle(
    service: &FederationService,
    client: ClientId,
    header: UpdateHeader,
    update: Result<Arc<coordinator_core::Admitted>, Refusal>,
) -> Result<Receipt, Status> {
    let (answer, receipt) = oneshot::channel();
    let input = Input::Uploaded { client, header, update, answer };
    service.inputs.send(input).await.map_err(|_| CallError::Stopping)?;
    receipt.await.map_err(|_| CallError::Stopping.into())
}
