//! The session: a stream of messages each way, for as long as the connection lives.

use std::error::Error;

use protocol::message::{ToClient, ToCoordinator};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::grpc::FederationChannel;
use wire::status::can_retry;
use wire::{decode, encode, proto};

use crate::connection::{ConnectError, Connector, Verdict, explain_tls, innermost};

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
    let (mut channel, verdict) = connector.watched().await.map_err(End::from)?;
    // Before the answer to the call: the coordinator may want to hear the greeting first.
    if news.send((number, News::Open(channel.clone()))).await.is_err() {
        return Ok(());
    }
    let call = channel.session(ReceiverStream::new(messages)).await;
    let mut incoming = call.map_err(|status| End::unheard(connector, &verdict, status))?.into_inner();
    let mut heard = false;
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(status) if heard => return Err(status.into()),
            Err(status) => return Err(End::unheard(connector, &verdict, status)),
        };
        heard = true;
        let said = decode::to_client(message)
            .map_err(|error| End::Lost(format!("the coordinator sent a malformed message: {error}")))?;
        if news.send((number, News::Said(said))).await.is_err() {
            return Ok(());
        }
    }
}

impl From<ConnectError> for End {
    fn from(error: ConnectError) -> Self {
        if error.can_retry() { Self::Lost(error.to_string()) } else { Self::Unable(error) }
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        if can_retry(&status) { Self::Lost(words(&status)) } else { Self::Refused(words(&status)) }
    }
}

impl End {
    /// The session has failed before the coordinator said anything. One that does not like the device's certificate ends the
    /// connection after the device's half of the handshake, so it is here that this is found out.
    fn unheard(connector: &Connector, verdict: &Verdict, status: Status) -> Self {
        if let Some(error) = verdict.error() {
            return explain_tls(connector.target(), error).into();
        }
        match status.source() {
            Some(_) => Self::Lost(words(&status) + connector.hint()),
            None => status.into(),
        }
    }
}

/// What a failed call means, in one line.
pub(crate) fn words(status: &Status) -> String {
    // With a cause, it is the connection that failed; without, the coordinator has spoken.
    if status.source().is_some() {
        return format!("the connection broke: {}", innermost(status));
    }
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    message.replace(char::is_control, " ")
}
