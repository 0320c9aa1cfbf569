//! A download: a version's snapshot in chunks. All downloads share one buffer.

use coordinator_core::Event;
use protocol::id::{ClientId, RunId, Version};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::chunk::{DownloadHeader, split};
use wire::proto::download_part::Kind;
use wire::status::CallError;
use wire::{encode, proto};

use super::FederationService;
use crate::driver::Input;
use crate::limits::{CHUNKS_MAX, DOWNLOAD_CHUNK_BYTES};

pub(super) fn begin(
    service: &FederationService,
    client: ClientId,
    request: proto::DownloadRequest,
) -> Result<ReceiverStream<Result<proto::DownloadPart, Status>>, CallError> {
    let (here, asked) = (service.run, RunId(request.run));
    if here != asked {
        return Err(CallError::UnknownRun { here, asked });
    }
    let version = Version(request.version);
    let snapshot = service.snapshots.get(version).ok_or_else(|| {
        let newest =
            service.snapshots.newest().map_or_else(|| "none".to_owned(), |newest| newest.to_string());
        CallError::UnknownVersion { version, newest }
    })?;
    let (parts, stream) = mpsc::channel(CHUNKS_MAX);
    let inputs = service.inputs.clone();
    tokio::spawn(async move {
        let length = snapshot.bytes.len() as u64;
        let header = DownloadHeader { version, length, digest: snapshot.digest };
        let mut kind = Kind::Header(encode::download_header(&header));
        for chunk in split(snapshot.bytes, DOWNLOAD_CHUNK_BYTES) {
            if send(&parts, kind).await.is_err() {
                return;
            }
            kind = Kind::Chunk(chunk);
        }
        // The core hears of the fetch before the client can have done anything with it. A client that goes away in the
        // middle of the last chunk is counted all the same.
        let _ = inputs.send(Input::Core(Event::Fetched { bytes: length })).await;
        let sent = send(&parts, kind).await;
        tracing::debug!(%client, %version, bytes = length, whole = sent.is_ok(), "download");
    });
    Ok(ReceiverStream::new(stream))
}

async fn send(parts: &mpsc::Sender<Result<proto::DownloadPart, Status>>, kind: Kind) -> Result<(), ()> {
    parts.send(Ok(proto::DownloadPart { kind: Some(kind) })).await.map_err(drop)
}
