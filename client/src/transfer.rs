//! Bulk data: versions down, updates up, in bounded pieces over the session's connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client_core::event::FetchedModel;
use codec::snapshot::decode_snapshot;
use params::{Digest, Layout};
use protocol::id::{RunId, Version};
use protocol::limits::UPLOAD_CHUNK_BYTES;
use protocol::message::{Receipt, UpdateHeader};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use wire::chunk::{Joiner, UploadReply, split};
use wire::grpc::FederationChannel;
use wire::{decode, encode, proto};

use crate::session::words;

/// A download of which nothing arrives for so long has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for an update to arrive and become durable: this, and more for its bytes over a slow link.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Slowest link that is waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 10;

/// Pieces of an upload that wait for the connection.
const PARTS_MAX: usize = 4;

/// What decoding a snapshot needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The shared tensors.
    pub(crate) shared: Arc<Layout>,
    /// Values of scope `Statistic`.
    pub(crate) statistics_len: usize,
}

/// Fetches a version; the model and the bytes of its snapshot.
pub(crate) async fn fetch(
    mut channel: FederationChannel,
    run: RunId,
    version: Version,
    expected: Digest,
    shape: Shape,
) -> Result<(FetchedModel, u64), String> {
    let request = proto::DownloadRequest { run: run.0, version: version.0 };
    let stalled = |_| format!("nothing arrived for {} s", STALL_TIMEOUT.as_secs());
    let response = timeout(STALL_TIMEOUT, channel.download(request)).await.map_err(stalled)?;
    let mut parts = response.map_err(|status| words(&status))?.into_inner();
    let mut joiner: Option<Joiner> = None;
    loop {
        use proto::download_part::Kind;
        let part = timeout(STALL_TIMEOUT, parts.message()).await.map_err(stalled)?;
        match (part.map_err(|status| words(&status))?.map(|part| part.kind), &mut joiner) {
            (Some(Some(Kind::Header(header))), None) => {
                let header = decode::download_header(&header).map_err(|error| error.to_string())?;
                if header.version != version {
                    return Err(format!("asked for version {version}, got version {}", header.version));
                }
                joiner = Some(Joiner::new(header.length, header.digest));
            }
            (Some(Some(Kind::Chunk(chunk))), Some(joiner)) => {
                joiner.push(&chunk).map_err(|error| error.to_string())?;
            }
            (None, Some(_)) => break,
            (Some(_), _) => return Err("the parts of the download are out of order".to_owned()),
            (None, None) => return Err("the download ended before its header".to_owned()),
        }
    }
    let Some(joiner) = joiner else { return Err("the download has no header".to_owned()) };
    // Hashing and decoding a large model takes a while.
    let decoded = tokio::task::spawn_blocking(move || open(joiner, expected, &shape));
    decoded.await.map_err(|panic| panic.to_string())?
}

fn open(joiner: Joiner, expected: Digest, shape: &Shape) -> Result<(FetchedModel, u64), String> {
    let bytes = joiner.finish().map_err(|error| error.to_string())?;
    let decoded = decode_snapshot(&shape.shared, shape.statistics_len, &bytes);
    let (model, statistics) = decoded.map_err(|error| format!("the snapshot is malformed: {error}"))?;
    let found = model.digest();
    if found != expected {
        return Err(format!("the version has digest {found:?}, announced was {expected:?}"));
    }
    Ok((FetchedModel { shared: model.values(), statistics }, bytes.len() as u64))
}

/// Sends an update, as much of it as the coordinator does not have yet; the coordinator's receipt.
pub(crate) async fn upload(
    mut channel: FederationChannel,
    header: UpdateHeader,
    payload: Vec<u8>,
) -> Result<Receipt, String> {
    let patience = UPLOAD_TIMEOUT + Duration::from_secs(payload.len() as u64 / SLOWEST_BYTES_PER_SECOND);
    let answer = timeout(patience, exchange(&mut channel, &header, payload.into())).await;
    answer.map_err(|_| format!("no receipt within {} s", patience.as_secs()))?
}

async fn exchange(
    channel: &mut FederationChannel,
    header: &UpdateHeader,
    payload: Bytes,
) -> Result<Receipt, String> {
    use proto::upload_part::Kind;
    let part = |kind| proto::UploadPart { kind: Some(kind) };
    let (parts, stream) = mpsc::channel(PARTS_MAX);
    let _ = parts.send(part(Kind::Header(encode::update_header(header)))).await;
    let replies = channel.upload(ReceiverStream::new(stream)).await;
    let mut replies = replies.map_err(|status| words(&status))?.into_inner();
    let mut parts = Some(parts);
    while let Some(reply) = replies.message().await.map_err(|status| words(&status))? {
        let reply = decode::upload_reply(reply).map_err(|error| format!("a reply is malformed: {error}"))?;
        let from = match reply {
            UploadReply::Receipt(receipt) => return Ok(receipt),
            UploadReply::From(from) => usize::try_from(from).ok().filter(|from| *from <= payload.len()),
        };
        let (Some(from), Some(parts)) = (from, parts.take()) else {
            return Err("the coordinator asks for bytes that the update does not have".to_owned());
        };
        let rest = payload.slice(from..);
        // Ends with the call, for then nobody takes the parts.
        tokio::spawn(async move {
            for chunk in split(rest, UPLOAD_CHUNK_BYTES) {
                if parts.send(part(Kind::Chunk(chunk))).await.is_err() {
                    return;
                }
            }
        });
    }
    Err("the upload has ended without a receipt".to_owned())
}
