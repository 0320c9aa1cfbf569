//! A client that says what a test wants it to say.

use protocol::PROTOCOL_VERSION;
use protocol::id::RunId;
use protocol::limits::PIECE_BYTES;
use protocol::message::{Hello, Receipt, ToClient, ToCoordinator, UpdateHeader};
use protocol::plan::{ModelSpec, RoundPlan};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::chunk::UploadReply;
use wire::grpc::FederationChannel;
use wire::proto::upload_part::Kind;
use wire::{chunk, decode, encode, proto};

use crate::process::PATIENCE;

/// A connection to a coordinator.
#[derive(Debug)]
pub struct Peer {
    federation: FederationChannel,
}

/// An open session.
#[derive(Debug)]
pub struct Talk {
    say: mpsc::Sender<proto::ToCoordinator>,
    hear: Streaming<proto::ToClient>,
}

/// A greeting that is welcome.
pub fn hello() -> Hello {
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    Hello { protocol: PROTOCOL_VERSION, classes, examples: 10, held_out: 2, run: None }
}

impl Peer {
    /// Over an open connection.
    pub fn new(federation: FederationChannel) -> Self {
        Self { federation }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// What the coordinator says.
    pub async fn greet(&mut self, hello: Hello) -> Result<Talk, Status> {
        let (say, said) = mpsc::channel(4);
        let _ = say.send(encode::to_coordinator(&ToCoordinator::Hello(hello))).await;
        let hear = self.federation.session(ReceiverStream::new(said)).await?.into_inner();
        Ok(Talk { say, hear })
    }

    /// Uploads: a header, then the payload whatever the header says.
    ///
    /// # Errors
    /// What the coordinator says instead of a receipt.
    ///
    /// # Panics
    /// When the receipt is malformed.
    pub async fn upload(&mut self, header: &UpdateHeader, payload: &[u8]) -> Result<Receipt, Status> {
        let part = |kind| proto::UploadPart { kind: Some(kind) };
        let (parts, stream) = mpsc::channel(1 + payload.len().div_ceil(PIECE_BYTES));
        let _ = parts.send(part(Kind::Header(encode::update_header(header)))).await;
        let mut replies = self.federation.upload(ReceiverStream::new(stream)).await?.into_inner();
        let mut parts = Some(parts);
        while let Some(reply) = replies.message().await? {
            match decode::upload_reply(reply).expect("a reply") {
                UploadReply::Receipt(receipt) => return Ok(receipt),
                UploadReply::From(from) => {
                    // The stream ends with its last chunk, whether or not there are enough.
                    let parts = parts.take().expect("one word to go on");
                    let rest = payload[from as usize..].to_vec().into();
                    for chunk in chunk::split(rest, PIECE_BYTES) {
                        let _ = parts.send(part(Kind::Chunk(chunk))).await;
                    }
                }
            }
        }
        Err(Status::unknown("the upload ends without a receipt"))
    }
}

impl Talk {
    /// Says something.
    ///
    /// # Panics
    /// When the session has ended.
    pub async fn say(&self, message: ToCoordinator) {
        self.say.send(encode::to_coordinator(&message)).await.expect("the session is open");
    }

    /// The next instruction; `None` at the end of the session.
    ///
    /// # Errors
    /// Why the session has ended.
    ///
    /// # Panics
    /// When nothing comes within [`PATIENCE`], or something malformed.
    pub async fn hear(&mut self) -> Result<Option<ToClient>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.hear.message()).await.expect("it says something");
        Ok(message?.map(|message| decode::to_client(message).expect("an instruction")))
    }

    /// Says goodbye, and waits until the coordinator has ended the session.
    ///
    /// # Panics
    /// As [`Self::hear`].
    pub async fn leave(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.say = closed;
        while let Ok(Some(_)) = self.hear().await {}
    }

    /// Waits for the plan of the next round; which run it is in, and of which model.
    ///
    /// # Panics
    /// When the session ends before.
    pub async fn plan(&mut self) -> (RunId, ModelSpec, RoundPlan) {
        let mut about = None;
        loop {
            match self.hear().await.expect("the session goes on") {
                Some(ToClient::Welcome { run, model, .. }) => about = model.map(|model| (run, model)),
                Some(ToClient::Train(plan)) => {
                    let (run, model) = about.expect("the model comes before the plan");
                    return (run, model, plan);
                }
                Some(_) => {}
                None => panic!("the session has ended without a plan"),
            }
        }
    }
}
