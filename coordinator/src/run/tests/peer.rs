//! A client that says what a test wants it to say, over a pipe.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use codec::Settings as CodecSettings;
use coordinator_core::config::UplinkSettings;
use coordinator_core::{InitialModel, Published, RunConfig, Settings};
use hyper_util::rt::TokioIo;
use params::{Digest, Layout, Scope, TensorSpec};
use protocol::evaluation::{CentralScore, Evaluation};
use protocol::id::{ClientId, RunId};
use protocol::limits::PIECE_BYTES;
use protocol::message::{Hello, Receipt, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{ModelSpec, RoundPlan};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use wire::chunk::UploadReply;
use wire::grpc::{FederationChannel, Stamp, federation_client};
use wire::proto::{self, upload_part::Kind};
use wire::{chunk, decode, encode};

use crate::learning::Learning;
use crate::store::memory::MemoryStore;
use crate::{End, Error, Meter, Opened, Output, Parts, Security};

/// A model of forty weights.
pub(super) struct Toy;

pub(super) fn layout() -> Arc<Layout> {
    let tensor =
        |name: &str, len| TensorSpec { name: name.to_owned(), shape: vec![len], scope: Scope::Shared };
    Arc::new(Layout::new(vec![tensor("weight", 32), tensor("bias", 8)]).unwrap())
}

impl Learning for Toy {
    fn knows(&self, preset: &str) -> Result<(), String> {
        if preset == "toy" { Ok(()) } else { Err(format!("there is no model {preset}")) }
    }

    fn initial(&self, _: &ModelSpec, seed: u64) -> Result<InitialModel, String> {
        let shared = (0..40).map(|index| (index + seed) as f32 / 64.0).collect();
        Ok(InitialModel { layout: layout(), shared, statistics: Vec::new() })
    }

    fn score(&self, _: &ModelSpec, published: &Published) -> Result<CentralScore, String> {
        let ap50 = f64::from(published.version.0) / 10.0;
        Ok(CentralScore { ap50, ap: ap50 / 2.0, ap50_per_class: vec![Some(ap50)] })
    }

    fn save(&self, path: &Path, _: &ModelSpec, published: &Published) -> Result<(), String> {
        std::fs::write(path, published.encode()).map_err(|error| error.to_string())
    }
}

pub(super) fn config(change: impl FnOnce(&mut Settings)) -> RunConfig {
    let mut settings = Settings {
        preset: "toy".to_owned(),
        classes: Some(vec!["a".to_owned()]),
        rounds: 2,
        min_clients: 2,
        personalise: "none".to_owned(),
        uplink: UplinkSettings { codec: "dense".to_owned(), ..Settings::default().uplink },
        ..Settings::default()
    };
    change(&mut settings);
    RunConfig::new(settings).unwrap()
}

/// What the coordinator has said on standard output.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A coordinator in this process.
pub(super) struct Host {
    opened: mpsc::UnboundedSender<std::io::Result<Opened>>,
    stop: Option<oneshot::Sender<()>>,
    pub(super) said: Said,
    pub(super) running: JoinHandle<Result<End, Error>>,
}

impl Host {
    pub(super) fn start(config: RunConfig, store: &MemoryStore) -> Self {
        Self::with(config, store, Security::Insecure, None)
    }

    pub(super) fn with(
        config: RunConfig,
        store: &MemoryStore,
        security: Security,
        folder: Option<&Path>,
    ) -> Self {
        let (opened, incoming) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let said = Said::default();
        let parts = Parts {
            store: Box::new(store.clone()),
            learning: Arc::new(Toy),
            incoming: Box::pin(UnboundedReceiverStream::new(incoming)),
            security,
            output: Output::to(Box::new(said.clone()), true, folder.map(Path::to_path_buf)),
            meter: Arc::new(Meter::default()),
            farewell_time: crate::limits::FAREWELL_TIME,
            ingest_bytes: 1 << 20,
            uploads: folder.map(|folder| folder.join("uploads")),
        };
        let stopped = async {
            // Dropping the sender is no wish to stop.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let running = tokio::spawn(crate::run(config, parts, stopped));
        Self { opened, stop: Some(stop), said, running }
    }

    /// The client's end of a new byte stream.
    pub(super) fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let opened = Opened { io: Box::new(theirs), from: "a test".to_owned() };
        self.opened.send(Ok(opened)).unwrap();
        ours
    }

    pub(super) async fn client(&self, name: &str) -> Peer {
        let stamp = Stamp::insecure(&ClientId::new(name).unwrap());
        Peer { federation: federation_client(channel(self.open()).await, stamp) }
    }

    /// Two clients in their first round: the first one, its plan and the run. The round lasts as long as their sessions are kept.
    pub(super) async fn first_round(&self) -> (Peer, RoundPlan, RunId, [Talk; 2]) {
        let (mut one, mut two) = tokio::join!(self.client("one"), self.client("two"));
        let mut talk = one.join().await.unwrap();
        let run = talk.welcome().await;
        let other = two.join().await.unwrap();
        let plan = talk.plan().await;
        (one, plan, run, [talk, other])
    }

    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(super) async fn end(self) -> Result<End, Error> {
        self.running.await.unwrap()
    }
}

/// HTTP/2 over a byte stream.
pub(super) async fn channel(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
) -> Channel {
    let mut io = Some(TokioIo::new(io));
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let io = io.take().ok_or_else(|| std::io::Error::other("the pipe is used up"));
        std::future::ready(io)
    });
    Endpoint::from_static("http://coordinator.fovea").connect_with_connector(connector).await.unwrap()
}

pub(super) struct Peer {
    pub(super) federation: FederationChannel,
}

/// An open session.
pub(super) struct Talk {
    pub(super) say: mpsc::Sender<proto::ToCoordinator>,
    hear: Streaming<proto::ToClient>,
}

pub(super) fn hello() -> Hello {
    let classes = vec!["a".to_owned()];
    Hello { protocol: protocol::PROTOCOL_VERSION, classes, examples: 4, held_out: 1, run: None }
}

impl Peer {
    /// Opens a session with a hello.
    pub(super) async fn join(&mut self) -> Result<Talk, Status> {
        let talk = self.session().await?;
        talk.say(ToCoordinator::Hello(hello())).await;
        Ok(talk)
    }

    /// Opens a session and says nothing.
    pub(super) async fn session(&mut self) -> Result<Talk, Status> {
        let (say, said) = mpsc::channel(4);
        let hear = self.federation.session(ReceiverStream::new(said)).await?.into_inner();
        Ok(Talk { say, hear })
    }

    pub(super) async fn download(&mut self, run: RunId, version: u32) -> Result<Vec<u8>, Status> {
        let request = proto::DownloadRequest { run: run.0, version, ..proto::DownloadRequest::default() };
        let mut parts = self.federation.download(request).await?.into_inner();
        let Some(proto::download_part::Kind::Header(header)) = parts.message().await?.unwrap().kind else {
            panic!("expected a header");
        };
        let header = decode::download_header(&header).unwrap();
        let mut joiner = chunk::Joiner::new(header.length, header.digest);
        while let Some(part) = parts.message().await? {
            let Some(proto::download_part::Kind::Chunk(chunk)) = part.kind else {
                panic!("expected a chunk")
            };
            joiner.push(&chunk).unwrap();
        }
        Ok(joiner.finish().unwrap())
    }

    pub(super) async fn upload(&mut self, header: &UpdateHeader, payload: &[u8]) -> Result<Receipt, Status> {
        let part = |kind| proto::UploadPart { kind: Some(kind) };
        let (parts, stream) = mpsc::channel(1 + payload.len().div_ceil(PIECE_BYTES));
        parts.send(part(Kind::Header(encode::update_header(header)))).await.unwrap();
        let mut replies = self.federation.upload(ReceiverStream::new(stream)).await?.into_inner();
        let mut parts = Some(parts);
        while let Some(reply) = replies.message().await? {
            match decode::upload_reply(reply).unwrap() {
                UploadReply::Receipt(receipt) => return Ok(receipt),
                UploadReply::From(from) => {
                    // The stream ends with its last chunk, whether or not there are enough.
                    let parts = parts.take().expect("one word to go on");
                    let rest = Bytes::copy_from_slice(&payload[from as usize..]);
                    for chunk in chunk::split(rest, PIECE_BYTES) {
                        parts.send(part(Kind::Chunk(chunk))).await.unwrap();
                    }
                }
            }
        }
        panic!("the upload ends without a receipt")
    }
}

impl Talk {
    pub(super) async fn say(&self, message: ToCoordinator) {
        self.say.send(encode::to_coordinator(&message)).await.unwrap();
    }

    /// The next instruction; `None` at the end of the session.
    pub(super) async fn hear(&mut self) -> Result<Option<ToClient>, Status> {
        let message = self.hear.message().await?;
        Ok(message.map(|message| decode::to_client(message).unwrap()))
    }

    pub(super) async fn welcome(&mut self) -> RunId {
        match self.hear().await.unwrap() {
            Some(ToClient::Welcome { run, .. }) => run,
            other => panic!("expected a welcome, heard {other:?}"),
        }
    }

    /// Says goodbye, and waits until the coordinator has ended the session.
    pub(super) async fn leave(mut self) -> Result<(), Status> {
        (self.say, _) = mpsc::channel(1);
        while self.hear().await?.is_some() {}
        Ok(())
    }

    /// The next plan, passing over other instructions.
    pub(super) async fn plan(&mut self) -> RoundPlan {
        loop {
            if let ToClient::Train(plan) = self.hear().await.unwrap().expect("a plan") {
                return plan;
            }
        }
    }
}

/// A valid update for a plan: every weight moves by `by`.
pub(super) fn update(run: RunId, plan: &RoundPlan, by: f32) -> (UpdateHeader, Vec<u8>) {
    let codec = codec::build(&plan.uplink.codec, &CodecSettings::default()).unwrap();
    let payload = codec.encode(&layout(), &[by; 40]).unwrap().payload;
    let header = UpdateHeader {
        run,
        round: plan.round,
        version: plan.version,
        layout: layout().digest(),
        examples: 4,
        steps: 2,
        loss_milli: 500,
        length: payload.len() as u32,
        payload_digest: Digest::of(&[&payload]),
    };
    (header, payload)
}

/// Does what it is told until the run has ended; how often it was told what.
pub(super) async fn obey(mut peer: Peer, by: f32) -> Result<BTreeMap<&'static str, u32>, Status> {
    let mut talk = peer.join().await?;
    let run = talk.welcome().await;
    let mut heard = BTreeMap::new();
    let mut count = |what| *heard.entry(what).or_insert(0) += 1;
    loop {
        match talk.hear().await?.expect("an instruction") {
            ToClient::Welcome { .. } => count("welcome"),
            ToClient::Train(plan) => {
                count("train");
                peer.download(run, plan.version.0).await?;
                let (header, payload) = update(run, &plan, by);
                let receipt = peer.upload(&header, &payload).await?;
                assert_eq!(receipt, Receipt::Accepted { round: plan.round });
            }
            ToClient::Evaluate(plan) => {
                count("evaluate");
                let version = plan.version;
                let evaluation = Evaluation { images: 1, boxes: 1, ..Evaluation::default() };
                talk.say(ToCoordinator::Evaluated { version, evaluation }).await;
            }
            ToClient::Closed { .. } => count("closed"),
            ToClient::Finished { version, .. } => {
                count("finished");
                peer.download(run, version.0).await?;
                talk.leave().await?;
                return Ok(heard);
            }
            refused @ ToClient::Refused { .. } => panic!("{refused:?}"),
        }
    }
}
