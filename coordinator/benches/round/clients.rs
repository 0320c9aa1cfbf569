//! Clients that do what they are told in no time.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use coordinator::state::StateFolder;
use coordinator::store::folder::FolderStore;
use coordinator::{Security, secure};
use hyper_util::rt::TokioIo;
use identity::DeviceKey;
use identity::tls::{SERVER_NAME, client_config};
use params::Digest;
use protocol::PROTOCOL_VERSION;
use protocol::evaluation::Evaluation;
use protocol::id::{ClientId, RunId};
use protocol::limits::PIECE_BYTES;
use protocol::message::{Hello, Receipt, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::RoundPlan;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use wire::chunk::UploadReply;
use wire::grpc::{FederationChannel, Stamp, federation_client};
use wire::proto::upload_part::Kind;
use wire::{chunk, decode, encode, proto};

use crate::host::{Task, layout};

/// What clients show to the coordinator.
pub(crate) struct Federation {
    clients: Vec<Arc<ClientConfig>>,
}

/// An update, the same for all.
struct Update {
    layout: Digest,
    payload: Bytes,
    digest: Digest,
}

impl Federation {
    /// Certificates of the authority in this state folder.
    pub(crate) fn prepare(state: &Path, clients: u32) -> Self {
        let folder = StateFolder::open(state).unwrap();
        let (store, _) = FolderStore::open(&folder).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (Security::Tls { authority, .. }, _) = secure(&folder, &[], address, &store).unwrap() else {
            unreachable!("it is secure")
        };
        let config = |index| {
            let key = DeviceKey::generate().unwrap();
            let client = ClientId::new(format!("client-{index:03}")).unwrap();
            let request = key.signing_request().unwrap();
            let certificate = authority.issue_client(&request, &client, SystemTime::now()).unwrap();
            client_config(authority.certificate(), certificate, &key).unwrap()
        };
        Self { clients: (0..clients).map(config).collect() }
    }

    /// Takes part until the run has ended.
    pub(crate) fn run(self, port: u16, task: &Task) {
        let layout = layout(task.values);
        let delta: Vec<_> = (0..task.values).map(|index| 1e-3 * (index as f32 * 0.7).sin().powi(5)).collect();
        let codec = codec::build(&task.codec, &codec::Settings::default()).unwrap();
        let payload = Bytes::from(codec.encode(&layout, &delta).unwrap().payload);
        let digest = Digest::of(&[&payload]);
        let update = Arc::new(Update { layout: layout.digest(), payload, digest });
        let coordinator = SocketAddr::from((task.address, port));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let take_part = |tls| tokio::spawn(take_part(coordinator, tls, update.clone()));
            let tasks: Vec<_> = self.clients.into_iter().map(take_part).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}

async fn connect(coordinator: SocketAddr, tls: Arc<ClientConfig>) -> FederationChannel {
    let tcp = TcpStream::connect(coordinator).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut io = Some(TokioIo::new(TlsConnector::from(tls).connect(name, tcp).await.unwrap()));
    let once = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        std::future::ready(io.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    let endpoint = Endpoint::from_static("http://coordinator.fovea");
    federation_client(endpoint.connect_with_connector(once).await.unwrap(), Stamp::secure())
}

async fn take_part(coordinator: SocketAddr, tls: Arc<ClientConfig>, update: Arc<Update>) {
    let mut federation = connect(coordinator, tls).await;
    let (say, said) = mpsc::channel(4);
    let classes = vec!["thing".to_owned()];
    let hello = Hello { protocol: PROTOCOL_VERSION, classes, examples: 50, held_out: 5, run: None };
    say.send(encode::to_coordinator(&ToCoordinator::Hello(hello))).await.unwrap();
    let mut hear = federation.session(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut run = RunId(0);
    while let Some(message) = hear.message().await.unwrap() {
        match decode::to_client(message).unwrap() {
            ToClient::Welcome { run: here, .. } => run = here,
            ToClient::Train(plan) => {
                fetch(&mut federation, run, plan.version.0).await;
                upload(&mut federation, run, &plan, &update).await;
            }
            ToClient::Evaluate(plan) => {
                let (version, evaluation) = (plan.version, Evaluation::default());
                let answer = ToCoordinator::Evaluated { version, evaluation };
                say.send(encode::to_coordinator(&answer)).await.unwrap();
            }
            ToClient::Closed { .. } => {}
            ToClient::Finished { .. } => break,
            refused @ ToClient::Refused { .. } => panic!("{refused:?}"),
        }
    }
    drop(say);
    while let Ok(Some(_)) = hear.message().await {}
}

async fn fetch(federation: &mut FederationChannel, run: RunId, version: u32) {
    let request = proto::DownloadRequest { run: run.0, version, ..proto::DownloadRequest::default() };
    let mut parts = federation.download(request).await.unwrap().into_inner();
    while parts.message().await.unwrap().is_some() {}
}

async fn upload(federation: &mut FederationChannel, run: RunId, plan: &RoundPlan, update: &Update) {
    let header = UpdateHeader {
        run,
        round: plan.round,
        version: plan.version,
        layout: update.layout,
        examples: 50,
        steps: 10,
        loss_milli: 700,
        length: update.payload.len() as u32,
        payload_digest: update.digest,
    };
    let part = |kind| proto::UploadPart { kind: Some(kind) };
    let (parts, stream) = mpsc::channel(4);
    parts.send(part(Kind::Header(encode::update_header(&header)))).await.unwrap();
    let mut replies = federation.upload(ReceiverStream::new(stream)).await.unwrap().into_inner();
    loop {
        let reply = replies.message().await.unwrap().expect("a reply");
        match decode::upload_reply(reply).unwrap() {
            UploadReply::Receipt(receipt) => {
                return assert!(matches!(receipt, Receipt::Accepted { .. }), "{receipt:?}");
            }
            UploadReply::From(from) => {
                for chunk in chunk::split(update.payload.slice(from as usize..), PIECE_BYTES) {
                    parts.send(part(Kind::Chunk(chunk))).await.unwrap();
                }
            }
        }
    }
}
