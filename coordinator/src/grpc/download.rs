//! A download: what leads a client to a version, in chunks. All downloads share one buffer.

use std::sync::Arc;

use coordinator_core::Event;
use protocol::id::ClientId;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::chunk::{DownloadHeader, DownloadRequest};
use wire::proto::download_part::Kind;
use wire::status::CallError;
use wire::{decode, encode, proto};

use super::FederationService;
use crate::driver::Input;
use crate::limits::{CHUNKS_MAX, DOWNLOAD_CHUNK_BYTES};
use crate::snapshots::{Download, Snapshots};

type Parts = mpsc::Sender<Result<proto::DownloadPart, Status>>;

pub(super) fn begin(
    service: &FederationService,
    client: ClientId,
    request: &proto::DownloadRequest,
) -> Result<ReceiverStream<Result<proto::DownloadPart, Status>>, CallError> {
    let request = decode::download_request(request).map_err(CallError::Decode)?;
    let (here, asked) = (service.run, request.run);
    if here != asked {
        return Err(CallError::UnknownRun { here, asked });
    }
    let (parts, stream) = mpsc::channel(CHUNKS_MAX);
    let (snapshots, inputs) = (service.snapshots.clone(), service.inputs.clone());
    tokio::spawn(async move {
        match find(snapshots, request).await {
            Ok(download) => serve(&client, &request, &download, &parts, &inputs).await,
            Err(error) => drop(parts.send(Err(error.into())).await),
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// The download; a whole version may still have to be encoded.
async fn find(snapshots: Arc<Snapshots>, request: DownloadRequest) -> Result<Arc<Download>, CallError> {
    let DownloadRequest { version, held, .. } = request;
    let found = spawn_blocking(move || {
        let newest = || snapshots.newest().map_or_else(|| "none".to_owned(), |newest| newest.to_string());
        let unknown = || CallError::UnknownVersion { version, newest: newest() };
        snapshots.offer(version, held).ok_or_else(unknown)
    });
    found.await.map_err(|error| CallError::Failed(error.to_string()))?
}

async fn serve(
    client: &ClientId,
    request: &DownloadRequest,
    download: &Download,
    parts: &Parts,
    inputs: &mpsc::Sender<Input>,
) {
    let &Download { length, digest, .. } = download;
    // Of another download, what the client has is of no use.
    let begun = request.begun.filter(|begun| begun.digest == digest && begun.offset <= length);
    let from = begun.map_or(0, |begun| begun.offset);
    let version = request.version;
    let header = DownloadHeader { version, length, digest, from, parts: download.parts.clone() };
    let mut kind = Kind::Header(encode::download_header(&header));
    for chunk in download.chunks(from, DOWNLOAD_CHUNK_BYTES) {
        if send(parts, kind).await.is_err() {
            return;
        }
        kind = Kind::Chunk(chunk);
    }
    // The core hears of the fetch before the client can have done anything with it. A client that goes away in the
    // middle of the last chunk is counted all the same.
    let bytes = length - from;
    let _ = inputs.send(Input::Core(Event::Fetched { bytes })).await;
    let sent = send(parts, kind).await;
    tracing::debug!(%client, %version, bytes, from, parts = header.parts.len(), whole = sent.is_ok(), "download");
}

async fn send(parts: &Parts, kind: Kind) -> Result<(), ()> {
    parts.send(Ok(proto::DownloadPart { kind: Some(kind) })).await.map_err(drop)
}
