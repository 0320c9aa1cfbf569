//! The session: a stream of messages each way, for as long as the connection lives.

use protocol::message::{ToClient, ToCoordinator};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::grpc::FederationChannel;
use wire::status::can_retry;
use wire::{decode, encode, proto};

use crate::connection::{ConnectError, Connector, explain};

/// Messages that may wait to be sent. A session that does not take them any more is as good as dead.
const OUTGOING_MAX: usize = 16;

/// What comes from a session.
#[derive(Debug)]
pub(crate) enum News {
    /// It is open; bulk data travels over the same connection.
    Open(FederationChannel),
    /// The coordinator said something.
    Said(ToClient),
    /// It has ended, or could not be opened; nothing follows.
    Ended(End),
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Another one can help.
    Lost(String),
    /// The coordinator has said that this client cannot take part.
    Refused(String),
    /// No connection can be made, ever.
    Unable(ConnectError),
}

/// A session that is open or being opened. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    outgoing: mpsc::Sender<proto::ToCoordinator>,
    task: JoinHandle<()>,
}

impl Session {
    /// Begins to open session `number`; what comes of it goes to `news`.
    pub(crate) fn open(connector: Connector, number: u64, news: mpsc::Sender<(u64, News)>) -> Self {
        let (outgoing, messages) = mpsc::channel(OUTGOING_MAX);
        let task = tokio::spawn(async move {
            let end = match converse(&connector, messages, number, &news).await {
                Ok(()) => End::Lost("the coordinator has ended the session".to_owned()),
                Err(end) => end,
            };
            // Nobody listens when the client is ending.
            let _ = news.send((number, News::Ended(end))).await;
        });
        Self { number, outgoing, task }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Says something; false if the session does not take it.
    pub(crate) fn send(&self, message: &ToCoordinator) -> bool {
        self.outgoing.try_send(encode::to_coordinator(message)).is_ok()
    }

    /// Says what is still to be said, and waits until the coordinator has ended the session.
    pub(crate) async fn close(mut self) {
        // The stream ends when its last sender is gone.
        (self.outgoing, _) = mpsc::channel(1);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    connector: &Connector,
    messages: mpsc::Receiver<proto::ToCoordinator>,
    number: u64,
    news: &mpsc::Sender<(u64, News)>,
) -> Result<(), End> {
    let mut channel = connector.federation().await.map_err(End::from)?;
    // Before the answer to the call: the coordinator may want to hear the greeting first.
    if news.send((number, News::Open(channel.clone()))).await.is_err() {
        return Ok(());
    }
    let refused = |status: Status| End::of(connector.target(), &status);
    let mut incoming = channel.session(ReceiverStream::new(messages)).await.map_err(refused)?.into_inner();
    while let Some(message) = incoming.message().await.map_err(refused)? {
        let said = decode::to_client(message)
            .map_err(|error| End::Lost(format!("the coordinator sent a malformed message: {error}")))?;
        if news.send((number, News::Said(said))).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl From<ConnectError> for End {
    fn from(error: ConnectError) -> Self {
        if error.can_retry() { Self::Lost(error.to_string()) } else { Self::Unable(error) }
    }
}

impl End {
    fn of(target: &str, status: &Status) -> Self {
        // A coordinator that does not like the certificate says so after the handshake, where gRPC sees a broken connection.
        match explain(target, status) {
            error @ (ConnectError::Rejected { .. } | ConnectError::NotTls { .. }) => error.into(),
            _ if can_retry(status) => Self::Lost(words(status)),
            _ => Self::Refused(words(status)),
        }
    }
}

/// What a failed call means, in one line.
pub(crate) fn words(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    match std::error::Error::source(status) {
        Some(_) => format!("the connection broke: {cause}"),
        None => message.replace(char::is_control, " "),
    }
}
