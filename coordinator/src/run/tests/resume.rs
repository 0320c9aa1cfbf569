//! Uploads that break off and go on.

use protocol::message::{Receipt, UpdateHeader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use wire::chunk::UploadReply;
use wire::proto::upload_part::Kind;
use wire::{decode, encode, proto};

use super::peer::{Host, Peer, config, update};
use crate::Security;
use crate::store::memory::MemoryStore;

/// An upload that is under way.
struct Upload {
    parts: mpsc::Sender<proto::UploadPart>,
    replies: Streaming<proto::UploadReply>,
}

impl Upload {
    /// Announces an update; from where on it is to be sent.
    async fn announce(peer: &mut Peer, header: &UpdateHeader) -> (Self, u64) {
        let (parts, stream) = mpsc::channel(4);
        let kind = Some(Kind::Header(encode::update_header(header)));
        parts.send(proto::UploadPart { kind }).await.unwrap();
        let replies = peer.federation.upload(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let mut upload = Self { parts, replies };
        match upload.reply().await.unwrap() {
            UploadReply::From(from) => (upload, from),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, chunk: &[u8]) {
        let kind = Some(Kind::Chunk(chunk.to_vec().into()));
        self.parts.send(proto::UploadPart { kind }).await.unwrap();
    }

    async fn reply(&mut self) -> Result<UploadReply, Status> {
        Ok(decode::upload_reply(self.replies.message().await?.expect("a reply")).unwrap())
    }

    /// Ends the stream before its time, and waits until the coordinator has put away what it has.
    async fn break_off(self) {
        let Self { parts, mut replies } = self;
        drop(parts);
        assert_eq!(replies.message().await.unwrap_err().code(), Code::DataLoss);
    }
}

#[tokio::test]
async fn bytes_that_have_arrived_are_not_sent_again() {
    let (folder, store) = (tempfile::tempdir().unwrap(), MemoryStore::default());
    let start = || Host::with(config(|_| {}), &store, Security::Insecure, Some(folder.path()));
    let host = start();
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);

    let (upload, from) = Upload::announce(&mut one, &header).await;
    assert_eq!(from, 0);
    upload.send(&payload[..20]).await;
    upload.send(&payload[20..30]).await;
    upload.break_off().await;
    let (upload, from) = Upload::announce(&mut one, &header).await;
    assert_eq!(from, 30);
    upload.send(&payload[30..50]).await;
    upload.break_off().await;
    host.running.abort();

    // The coordinator was killed: what was put away is still there.
    let host = start();
    let mut one = host.client("one").await;
    let (mut upload, from) = Upload::announce(&mut one, &header).await;
    assert_eq!(from, 50);
    upload.send(&payload[50..]).await;
    assert_eq!(upload.reply().await.unwrap(), UploadReply::Receipt(Receipt::Accepted { round: plan.round }));
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
}

/// A rest that does not belong to the first part is refused with both digests, and the upload begins anew.
#[tokio::test]
async fn parts_of_different_updates_are_not_joined() {
    let (folder, store) = (tempfile::tempdir().unwrap(), MemoryStore::default());
    let host = Host::with(config(|_| {}), &store, Security::Insecure, Some(folder.path()));
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);

    let (upload, _) = Upload::announce(&mut one, &header).await;
    upload.send(&payload[..30]).await;
    upload.break_off().await;
    let (mut upload, from) = Upload::announce(&mut one, &header).await;
    assert_eq!(from, 30);
    let mut other = payload[30..].to_vec();
    other[3] ^= 1;
    upload.send(&other).await;
    let status = upload.reply().await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    let found = params::Digest::of(&[&payload[..30], &other]);
    let expected = header.payload_digest;
    assert_eq!(
        status.message(),
        format!("broken transfer: the data has digest {found:?}, the header announced {expected:?}")
    );
    let (mut upload, from) = Upload::announce(&mut one, &header).await;
    assert_eq!(from, 0);
    upload.send(&payload).await;
    assert_eq!(upload.reply().await.unwrap(), UploadReply::Receipt(Receipt::Accepted { round: plan.round }));
}

/// The connection is dead, but only the client knows: its next attempt takes over with what has arrived.
#[tokio::test]
async fn a_second_upload_takes_over_from_one_that_hangs() {
    let (folder, store) = (tempfile::tempdir().unwrap(), MemoryStore::default());
    let host = Host::with(config(|_| {}), &store, Security::Insecure, Some(folder.path()));
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);

    let (mut hanging, _) = Upload::announce(&mut one, &header).await;
    let mut again = host.client("one").await;
    let (mut upload, from) = Upload::announce(&mut again, &header).await;
    assert_eq!(hanging.reply().await.unwrap_err().code(), Code::Aborted);
    upload.send(&payload[from as usize..]).await;
    assert_eq!(upload.reply().await.unwrap(), UploadReply::Receipt(Receipt::Accepted { round: plan.round }));
}
