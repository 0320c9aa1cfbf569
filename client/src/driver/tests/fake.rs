//! A coordinator that does what a test says, over pipes in memory, and a trainer that learns nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use codec::snapshot::encode_snapshot;
use codec::statistics::StatisticsLayout;
use params::{Canonical, Digest, Layout, Scope, TensorSpec};
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::{Part, PartKind, Receipt, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{ClassLoss, Freeze, ModelSpec, Norm, Optimiser, RoundPlan, TrainPlan, UplinkPlan};
use protocol::train::{
    DataSummary, EvaluateJob, EvaluateOutcome, TrainError, TrainJob, TrainOutcome, Trainer,
};
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use wire::chunk::UploadReply;
use wire::grpc::{Federation, Stamp, federation_server};
use wire::{chunk, decode, encode, proto};

use crate::connection::{ConnectError, Connector, Pipe};

pub(super) const RUN: RunId = RunId(7);

pub(super) fn layout() -> Arc<Layout> {
    let spec = |name: &str, len, scope| TensorSpec { name: name.into(), shape: vec![len], scope };
    let specs = vec![
        spec("head.weight", 40, Scope::Shared),
        spec("norm.mean", 2, Scope::Statistic),
        spec("norm.var", 2, Scope::Statistic),
        spec("personal.head.weight", 40, Scope::Personal),
    ];
    Arc::new(Layout::new(specs).unwrap())
}

fn version() -> Canonical {
    let shared = Arc::new(layout().of_scope(Scope::Shared));
    Canonical::from_values(shared, &[0.5; 40]).unwrap()
}

pub(super) fn digest() -> Digest {
    version().digest()
}

pub(super) fn welcome() -> ToClient {
    let classes = ["cat", "dog"].map(String::from).to_vec();
    ToClient::Welcome { run: RUN, seed: 3, model: Some(ModelSpec { preset: "toy".into(), classes }) }
}

pub(super) fn plan(round: u32) -> ToClient {
    let train = TrainPlan {
        local_epochs: 1,
        batch: 1,
        micro_batch: 1,
        optimiser: Optimiser::Sgd,
        learning_rate: 0.1,
        weight_decay: 0.0,
        clip_norm: 1.0,
        ema_decay: 0.0,
        progress_start: 0.0,
        progress_end: 1.0,
        warm_up: 0.0,
        final_rate: 1.0,
        freeze: Freeze::None,
        norm: Norm::Local,
        class_loss: ClassLoss::Focal,
        static_assignment: true,
        mosaic: 0.0,
        flip: false,
        flip_vertical: false,
    };
    ToClient::Train(RoundPlan {
        round: Round(round),
        version: Version(0),
        model_digest: digest(),
        time_limit: std::time::Duration::from_secs(3600),
        train,
        uplink: UplinkPlan { density: 0.2, ..UplinkPlan::default() },
        personalise: "head".to_owned(),
    })
}

/// One session as the coordinator sees it.
pub(super) struct Visit {
    incoming: Streaming<proto::ToCoordinator>,
    outgoing: mpsc::Sender<Result<proto::ToClient, Status>>,
}

impl Visit {
    pub(super) async fn hear(&mut self) -> Option<ToCoordinator> {
        let message = self.incoming.message().await.ok()??;
        Some(decode::to_coordinator(message).unwrap())
    }

    pub(super) async fn say(&self, message: ToClient) {
        self.outgoing.send(Ok(encode::to_client(&message))).await.unwrap();
    }

    pub(super) async fn fail(&self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }
}

/// One upload, which waits for its receipt.
pub(super) struct Upload {
    pub(super) header: UpdateHeader,
    pub(super) payload: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<Receipt, Status>>,
}

/// What clients do to the coordinator.
pub(super) struct Fake {
    pub(super) connector: Connector,
    pub(super) visits: mpsc::Receiver<Visit>,
    pub(super) uploads: mpsc::Receiver<Upload>,
    /// Nobody is there.
    pub(super) away: Arc<AtomicBool>,
    /// One for each attempt to connect while nobody was there.
    pub(super) missed: Arc<Semaphore>,
}

impl Fake {
    pub(super) fn start() -> Self {
        let (visited, visits) = mpsc::channel(4);
        let (uploaded, uploads) = mpsc::channel(4);
        let (connected, connections) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(4);
        let service = federation_server(Service { visited, uploaded });
        let incoming = ReceiverStream::new(connections);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let away = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&away);
        let missed = Arc::new(Semaphore::new(0));
        let in_vain = Arc::clone(&missed);
        let client = ClientId::new("camera").unwrap();
        let connector = Connector::new("pipe".to_owned(), Stamp::insecure(&client), move || {
            let (connected, gone) = (connected.clone(), gone.load(Ordering::Relaxed));
            let in_vain = Arc::clone(&in_vain);
            Box::pin(async move {
                if gone {
                    in_vain.add_permits(1);
                    let (target, reason) = ("pipe".to_owned(), "nobody is there".to_owned());
                    return Err(ConnectError::Unreachable { target, reason });
                }
                let (ours, theirs) = tokio::io::duplex(1 << 16);
                connected.send(Ok(theirs)).await.unwrap();
                Ok(Box::new(ours) as Box<dyn Pipe>)
            })
        });
        Self { connector, visits, uploads, away, missed }
    }
}

struct Service {
    visited: mpsc::Sender<Visit>,
    uploaded: mpsc::Sender<Upload>,
}

#[tonic::async_trait]
impl Federation for Service {
    type SessionStream = ReceiverStream<Result<proto::ToClient, Status>>;
    type DownloadStream = tokio_stream::Iter<std::vec::IntoIter<Result<proto::DownloadPart, Status>>>;
    type UploadStream = ReceiverStream<Result<proto::UploadReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::ToCoordinator>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, instructions) = mpsc::channel(4);
        let visit = Visit { incoming: request.into_inner(), outgoing };
        self.visited.send(visit).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(instructions)))
    }

    async fn download(
        &self,
        request: Request<proto::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        use proto::download_part::Kind;
        let request = decode::download_request(&request.into_inner()).unwrap();
        let statistics = StatisticsLayout::new(&layout().of_scope(Scope::Statistic)).unwrap();
        let snapshot = encode_snapshot(&statistics, &version(), &[0.0, 0.0, 1.0, 1.0]);
        let (version, length) = (request.version, snapshot.len() as u64);
        let part = Part { kind: PartKind::Snapshot, from: version, to: version, length };
        let header = chunk::DownloadHeader {
            version,
            length,
            digest: Digest::of(&[&snapshot]),
            from: 0,
            parts: vec![part],
        };
        let kinds = [Kind::Header(encode::download_header(&header)), Kind::Chunk(snapshot.into())];
        let parts = kinds.map(|kind| Ok(proto::DownloadPart { kind: Some(kind) })).to_vec();
        Ok(Response::new(tokio_stream::iter(parts)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<proto::UploadPart>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let (replies, answers) = mpsc::channel(2);
        let uploaded = self.uploaded.clone();
        tokio::spawn(async move {
            let last = receive(request.into_inner(), &replies, &uploaded).await;
            let _ =
                replies.send(last.map(|receipt| encode::upload_reply(&UploadReply::Receipt(receipt)))).await;
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

async fn receive(
    mut parts: Streaming<proto::UploadPart>,
    replies: &mpsc::Sender<Result<proto::UploadReply, Status>>,
    uploaded: &mpsc::Sender<Upload>,
) -> Result<Receipt, Status> {
    use proto::upload_part::Kind;
    let (mut header, mut payload) = (None, Vec::new());
    while let Some(part) = parts.message().await? {
        match part.kind.unwrap() {
            Kind::Header(found) => {
                header = Some(decode::update_header(&found).unwrap());
                let _ = replies.send(Ok(encode::upload_reply(&UploadReply::From(0)))).await;
            }
            Kind::Chunk(chunk) => payload.extend_from_slice(&chunk),
        }
    }
    let (answer, receipt) = oneshot::channel();
    let upload = Upload { header: header.unwrap(), payload, answer };
    uploaded.send(upload).await.map_err(|_| Status::unavailable("the test is over"))?;
    receipt.await.map_err(|_| Status::unavailable("no answer"))?
}

/// Moves every shared value by the same amount.
#[derive(Default)]
pub(super) struct Toy {
    pub(super) panics: bool,
    pub(super) fails: bool,
    /// Training waits until this is gone.
    pub(super) held: Option<std::sync::mpsc::Receiver<()>>,
}

impl Trainer for Toy {
    fn summary(&self) -> DataSummary {
        DataSummary { classes: vec!["cat".to_owned()], examples: 5, held_out: 2 }
    }

    fn prepare(&mut self, _spec: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        Ok(layout())
    }

    fn train(&mut self, mut job: TrainJob) -> Result<TrainOutcome, TrainError> {
        assert!(!self.panics, "the kernel fell over");
        if self.fails {
            return Err(TrainError::Data("the disk is gone".to_owned()));
        }
        if let Some(held) = &self.held {
            let _ = held.recv();
        }
        job.model.shared.iter_mut().enumerate().for_each(|(index, value)| *value += index as f32);
        job.model.personal[0] = 9.0;
        Ok(TrainOutcome { model: job.model, examples: 5, steps: 5, loss: 0.25 })
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        let score = |ap50| ModelScore { ap50, ap: ap50 / 2.0, histogram: Vec::new() };
        let evaluation = Evaluation {
            images: 2,
            boxes: 3,
            global: score(0.5),
            personal: score(f64::from(job.model.personal[0] == 9.0)),
            ..Evaluation::default()
        };
        Ok(EvaluateOutcome { evaluation, statistics: vec![0.1, 0.1, 2.0, 2.0], statistics_images: 5 })
    }
}
