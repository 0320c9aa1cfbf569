//! A download: what leads a client to a version, in chunks. All downloads share one buffer.

use coordinator_core::Event;
use protocol::id::ClientId;
use protocol::limits::PIECE_BYTES;
use tokio::sync::mpsc;
use wire::chunk::{DownloadHeader, DownloadRequest};
use wire::proto::download_part::Kind;
use wire::status::CallError;
use wire::{decode, encode, proto};

use super::answers::answers;
use super::{Answering, Answers, FederationService};
use crate::driver::Input;
use crate::limits::CHUNKS_MAX;
use crate::snapshots::Download;

type Parts = Answering<proto::DownloadPart>;

pub(super) fn begin(
    service: &FederationService,
    client: ClientId,
    request: &proto::DownloadRequest,
) -> Result<Answers<proto::DownloadPart>, CallError> {
    let request = decode::download_request(request).map_err(CallError::Decode)?;
    let (here, asked) = (service.run, request.run);
    if here != asked {
        return Err(CallError::UnknownRun { here, asked });
    }
    let (parts, stream) = answers(CHUNKS_MAX);
    let (snapshots, inputs) = (service.snapshots.clone(), service.inputs.clone());
    tokio::spawn(async move {
        match snapshots.offer(request.version, request.held).await {
            Ok(download) => serve(&client, &request, &download, &parts, &inputs).await,
            Err(error) => _ = parts.send(Err(error.into())).await,
        }
    });
    Ok(stream)
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
    for chunk in download.chunks(from, PIECE_BYTES) {
        if !send(parts, kind).await {
            return;
        }
        kind = Kind::Chunk(chunk);
    }
    // The core hears of the fetch before the client can have done anything with it. A client that goes away in the
    // middle of the last chunk is counted all the same.
    let bytes = length - from;
    let _ = inputs.send(Input::Core(Event::Fetched { bytes })).await;
    let sent = send(parts, kind).await;
    tracing::debug!(%client, %version, bytes, from, parts = header.parts.len(), whole = sent, "download");
}

async fn send(parts: &Parts, kind: Kind) -> bool {
    parts.send(Ok(proto::DownloadPart { kind: Some(kind) })).await
}
