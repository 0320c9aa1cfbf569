//! The gRPC services: who calls, is it well-formed, and on to the driver. Nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use coordinator_core::Admission;
use protocol::id::{ClientId, RunId};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};
use wire::grpc::{CLIENT_METADATA, Federation, check_protocol};
use wire::proto;
use wire::status::CallError;

use crate::connection::Peer;
use crate::driver::Input;
use crate::ingest::Ingest;
use crate::snapshots::Snapshots;

mod answers;
mod download;
mod enrol;
mod session;
mod upload;

pub(crate) use answers::{Answering, Answers};
pub(crate) use enrol::EnrolmentService;

/// The federation as clients call it.
#[derive(Clone)]
pub(crate) struct FederationService {
    pub(crate) run: RunId,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) admission: watch::Receiver<Arc<Admission>>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) ingest: Arc<Ingest>,
    /// Callers say their names themselves.
    pub(crate) insecure: bool,
}

impl FederationService {
    pub(crate) fn new(
        run: RunId,
        inputs: mpsc::Sender<Input>,
        admission: watch::Receiver<Arc<Admission>>,
        snapshots: Arc<Snapshots>,
        ingest: Arc<Ingest>,
        insecure: bool,
    ) -> Self {
        Self { run, inputs, admission, snapshots, ingest, insecure }
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
    type SessionStream = Answers<proto::ToClient>;
    type DownloadStream = Answers<proto::DownloadPart>;
    type UploadStream = Answers<proto::UploadReply>;

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
        Ok(Response::new(download::begin(self, client, &request.into_inner())?))
    }

    async fn upload(
        &self,
        request: Request<Streaming<proto::UploadPart>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let client = self.caller(&request)?;
        Ok(Response::new(upload::begin(self, client, request.into_inner())))
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
