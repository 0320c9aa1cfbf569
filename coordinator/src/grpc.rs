//! The gRPC services: who calls, is it well-formed, and on to the driver. Nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use coordinator_core::Admission;
use protocol::id::{ClientId, RunId};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::grpc::{CLIENT_METADATA, Federation, check_protocol};
use wire::proto;
use wire::status::CallError;

use crate::connection::Peer;
use crate::driver::Input;
use crate::limits::UPLOADS_KIB_MAX;
use crate::snapshots::Snapshots;

mod download;
mod enrol;
mod session;
mod upload;

pub(crate) use enrol::EnrolmentService;

/// The federation as clients call it.
pub(crate) struct FederationService {
    pub(crate) run: RunId,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) admission: watch::Receiver<Arc<Admission>>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Memory for uploads under way, KiB.
    pub(crate) uploads: Arc<Semaphore>,
    /// Callers say their names themselves.
    pub(crate) insecure: bool,
}

impl FederationService {
    pub(crate) fn new(
        run: RunId,
        inputs: mpsc::Sender<Input>,
        admission: watch::Receiver<Arc<Admission>>,
        snapshots: Arc<Snapshots>,
        insecure: bool,
    ) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS_KIB_MAX as usize));
        Self { run, inputs, admission, snapshots, uploads, insecure }
    }

    /// The caller: by its certificate, and only in insecure mode by its own word.
    fn caller<T>(&self, request: &Request<T>) -> Result<ClientId, CallError> {
        check_protocol(request.metadata())?;
        if self.insecure {
            let name = request.metadata().get(CLIENT_METADATA).ok_or(CallError::NoIdentity)?;
            let name = name.to_str().map_err(|_| CallError::NoIdentity)?;
            return ClientId::new(name).map_err(|error| CallError::Forbidden(error.to_string()));
        }
        let peer = request.extensions().get::<Peer>();
        peer.and_then(|peer| peer.client.clone()).ok_or(CallError::NoIdentity)
    }
}

#[tonic::async_trait]
impl Federation for FederationService {
    type SessionStream = ReceiverStream<Result<proto::ToClient, Status>>;
    type DownloadStream = ReceiverStream<Result<proto::DownloadPart, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::ToCoordinator>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let client = self.caller(&request)?;
        Ok(Response::new(session::begin(self.inputs.clone(), client, request.into_inner())))
    }

    async fn download(
        &self,
        request: Request<proto::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let client = self.caller(&request)?;
        Ok(Response::new(download::begin(self, client, request.into_inner())?))
    }

    async fn upload(
        &self,
        request: Request<Streaming<proto::UploadPart>>,
    ) -> Result<Response<proto::Receipt>, Status> {
        let client = self.caller(&request)?;
        let receipt = upload::receive(self, client, request.into_inner()).await?;
        Ok(Response::new(wire::encode::receipt(&receipt)))
    }
}

/// The next message, or why there is none in time.
async fn next<T>(
    stream: &mut Streaming<T>,
    within: Duration,
    what: &'static str,
) -> Result<Option<T>, Status> {
    let message = tokio::time::timeout(within, stream.message()).await;
    message.map_err(|_| Status::from(CallError::TooSlow { what, seconds: within.as_secs() }))?
}
