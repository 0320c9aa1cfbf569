//! Connections: accepted, counted, secured, and known by their certificate before any request is read.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use identity::client_of;
use protocol::id::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};

use crate::limits::{
    ANONYMOUS_TIME, CONNECTIONS_ANONYMOUS_MAX, CONNECTIONS_MAX, HANDSHAKE_TIME, TLS_BYTES_MAX,
};
use crate::meter::{Meter, Metered};

/// A byte stream to a peer: a TCP connection, or a pipe of a test.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream that was opened to us.
pub struct Opened {
    /// The stream.
    pub io: Box<dyn Io>,
    /// Where from, for logs.
    pub from: String,
}

/// Byte streams opened to us, as they come.
pub type Incoming = Pin<Box<dyn Stream<Item = io::Result<Opened>> + Send>>;

/// Connections to a TCP port.
pub fn tcp(listener: TcpListener) -> Incoming {
    Box::pin(tokio_stream::wrappers::TcpListenerStream::new(listener).map(|accepted| {
        let stream = accepted?;
        // Instructions are small and must not wait for more.
        stream.set_nodelay(true)?;
        let from = stream.peer_addr().as_ref().map_or_else(|_| "?".to_owned(), SocketAddr::to_string);
        Ok(Opened { io: Box::new(stream), from })
    }))
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// By certificate; `None` for a device that enrols, and in insecure mode.
    pub(crate) client: Option<ClientId>,
}

/// A connection that HTTP/2 can run on.
pub(crate) struct Connection {
    stream: Secured,
    peer: Peer,
    /// When a connection without certificate is closed.
    ends: Option<Pin<Box<Sleep>>>,
    _permits: Vec<OwnedSemaphorePermit>,
}

enum Secured {
    Plain(Metered<Box<dyn Io>>),
    Tls(Box<TlsStream<Metered<Box<dyn Io>>>>),
}

/// Takes in connections until `incoming` ends. Handshakes run beside each other, so that a slow one holds up nobody; errors of
/// single connections are logged and end that connection alone.
pub(crate) fn accept(
    mut incoming: Incoming,
    tls: Option<Arc<ServerConfig>>,
    meter: Arc<Meter>,
) -> impl Stream<Item = io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        let all = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let anonymous = Arc::new(Semaphore::new(CONNECTIONS_ANONYMOUS_MAX));
        let acceptor = tls.map(TlsAcceptor::from);
        loop {
            let opened = tokio::select! {
                opened = incoming.next() => opened,
                () = ready.closed() => None,
            };
            let opened = match opened {
                None => return,
                Some(Ok(opened)) => opened,
                // Out of file descriptors, or a peer that went away: the next one may succeed.
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(permit) = all.clone().try_acquire_owned() else {
                tracing::warn!(from = opened.from, max = CONNECTIONS_MAX, "too many connections: closed");
                continue;
            };
            let (acceptor, anonymous, meter, ready) =
                (acceptor.clone(), anonymous.clone(), meter.clone(), ready.clone());
            tokio::spawn(async move {
                let from = opened.from.clone();
                let Some(acceptor) = acceptor else {
                    let stream = Secured::Plain(Metered::new(opened.io, meter));
                    let peer = Peer { client: None };
                    let connection = Connection { stream, peer, ends: None, _permits: vec![permit] };
                    let _ = ready.send(Ok(connection)).await;
                    return;
                };
                match secure(&acceptor, opened, &anonymous, meter, permit).await {
                    Ok(connection) => _ = ready.send(Ok(connection)).await,
                    Err(reason) => tracing::debug!(from, reason, "a connection was refused"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn secure(
    acceptor: &TlsAcceptor,
    opened: Opened,
    anonymous: &Arc<Semaphore>,
    meter: Arc<Meter>,
    permit: OwnedSemaphorePermit,
) -> Result<Connection, String> {
    let handshake = timeout(HANDSHAKE_TIME, acceptor.accept(Metered::new(opened.io, meter))).await;
    let stream = handshake.map_err(|_| "the TLS handshake took too long")?;
    let mut stream = stream.map_err(|error| error.to_string())?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BYTES_MAX));
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let client = certificate.map(client_of).transpose().map_err(|error| error.to_string())?;
    let mut permits = vec![permit];
    let mut ends = None;
    if client.is_none() {
        let permit = anonymous.clone().try_acquire_owned();
        permits.push(permit.map_err(|_| "too many connections without a certificate")?);
        ends = Some(Box::pin(tokio::time::sleep(ANONYMOUS_TIME)));
    }
    let stream = Secured::Tls(Box::new(stream));
    Ok(Connection { stream, peer: Peer { client }, ends, _permits: permits })
}

impl Connection {
    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut self.stream {
            Secured::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Secured::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Secured::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Secured::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// A frame's head and its data in one record, and one call of the system.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Secured::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Secured::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Secured::Plain(stream) => stream.is_write_vectored(),
            Secured::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Secured::Plain(stream) => Pin::new(stream).poll_flush(context),
            Secured::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Secured::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Secured::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
