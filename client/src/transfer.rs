//! Bulk data: versions down, updates up, in bounded pieces over the session's connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client_core::download::{FetchError, FetchedModel, Shape, assemble};
use codec::delta::Content;
use params::Digest;
use protocol::id::{RunId, Version};
use protocol::limits::PIECE_BYTES;
use protocol::message::{Receipt, UpdateHeader};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use wire::chunk::{Begun, DownloadHeader, DownloadRequest, Joiner, UploadReply, split};
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

/// A version that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) run: RunId,
    pub(crate) version: Version,
    /// Of its shared weights.
    pub(crate) digest: Digest,
    /// What is held.
    pub(crate) held: Option<Arc<FetchedModel>>,
}

/// What has arrived of a download that broke off.
#[derive(Debug)]
struct Partial {
    version: Version,
    held: Option<Content>,
    /// Of the whole download.
    digest: Digest,
    bytes: Vec<u8>,
}

/// Keeps what a download that broke off has brought until the next attempt; shared by all attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Partial>>>);

impl Kept {
    fn put(&self, partial: Partial) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(partial);
    }

    /// What fits this version and what is held, if anything does.
    fn take(&self, version: Version, held: Option<Content>) -> Option<Partial> {
        let partial = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        partial.filter(|partial| (partial.version, partial.held) == (version, held))
    }
}

/// Fetches a version; the model and the bytes that have arrived for it.
pub(crate) async fn fetch(
    mut channel: FederationChannel,
    wanted: Wanted,
    shape: Shape,
    kept: Kept,
) -> Result<(FetchedModel, u64), FetchError> {
    let Wanted { run, version, digest: expected, held } = wanted;
    let panicked = |panic: JoinError| FetchError::Broken(panic.to_string());
    // Hashing and decoding a large model takes a while.
    let name = held.clone().map(|held| spawn_blocking(move || held.content()));
    let name = match name {
        Some(name) => Some(name.await.map_err(panicked)?),
        None => None,
    };
    let mut begun = kept.take(version, name);
    let earlier =
        begun.as_ref().map(|partial| Begun { offset: partial.bytes.len() as u64, digest: partial.digest });
    let request = DownloadRequest { run, version, held: name, begun: earlier };
    let mut joined = None;
    let received = receive(&mut channel, &request, &mut begun, &mut joined).await;
    let (header, joiner) = match (received, joined) {
        (Ok(()), Some(joined)) => joined,
        (Ok(()), None) => return Err(FetchError::Broken("the download has no header".into())),
        (Err(reason), joined) => {
            if let Some((DownloadHeader { digest, .. }, joiner)) = joined {
                kept.put(Partial { version, held: name, digest, bytes: joiner.into_received() });
            } else if let Some(partial) = begun {
                kept.put(partial);
            }
            return Err(FetchError::Broken(reason));
        }
    };
    let bytes = header.length - header.from;
    let decoded = spawn_blocking(move || {
        let bytes = joiner.finish().map_err(|error| FetchError::Unfit(error.to_string()))?;
        assemble(&shape, held.as_deref(), &header.parts, &bytes, expected)
    });
    decoded.await.map_err(panicked)?.map(|model| (model, bytes))
}

/// Takes in header and chunks, until all are there or the download breaks off.
async fn receive(
    channel: &mut FederationChannel,
    request: &DownloadRequest,
    begun: &mut Option<Partial>,
    joined: &mut Option<(DownloadHeader, Joiner)>,
) -> Result<(), String> {
    use proto::download_part::Kind;
    let stalled = |_| format!("nothing arrived for {} s", STALL_TIMEOUT.as_secs());
    let response = channel.download(encode::download_request(request));
    let response = timeout(STALL_TIMEOUT, response).await.map_err(stalled)?;
    let mut parts = response.map_err(|status| words(&status))?.into_inner();
    loop {
        let part = timeout(STALL_TIMEOUT, parts.message()).await.map_err(stalled)?;
        match (part.map_err(|status| words(&status))?.map(|part| part.kind), &mut *joined) {
            (Some(Some(Kind::Header(header))), None) => {
                let header = decode::download_header(&header).map_err(|error| error.to_string())?;
                let (asked, version) = (request.version, header.version);
                if version != asked {
                    return Err(format!("asked for version {asked}, got version {version}"));
                }
                let earlier = begun.take().map_or_else(Vec::new, |partial| partial.bytes);
                let joiner = match header.from {
                    0 => Joiner::new(header.length, header.digest),
                    from if from == earlier.len() as u64 => {
                        let joiner = Joiner::resume(header.length, header.digest, earlier);
                        joiner.map_err(|error| error.to_string())?
                    }
                    from => {
                        return Err(format!(
                            "the download goes on at byte {from} instead of {}",
                            earlier.len()
                        ));
                    }
                };
                *joined = Some((header, joiner));
            }
            (Some(Some(Kind::Chunk(chunk))), Some((_, joiner))) => {
                joiner.push(&chunk).map_err(|error| error.to_string())?;
            }
            (None, Some((header, joiner))) if joiner.received() < header.length => {
                return Err(format!(
                    "the download ended after {} of {} bytes",
                    joiner.received(),
                    header.length
                ));
            }
            (None, Some(_)) => return Ok(()),
            (Some(_), _) => return Err("the parts of the download are out of order".to_owned()),
            (None, None) => return Err("the download ended before its header".to_owned()),
        }
    }
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
            for chunk in split(rest, PIECE_BYTES) {
                if parts.send(part(Kind::Chunk(chunk))).await.is_err() {
                    return;
                }
            }
        });
    }
    Err("the upload has ended without a receipt".to_owned())
}
