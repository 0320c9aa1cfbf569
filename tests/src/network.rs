//! A loopback port that outlives the coordinators behind it, and what passed through it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use client::Address;
use coordinator::{Incoming, Opened};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Route = Arc<Mutex<Option<mpsc::UnboundedSender<io::Result<Opened>>>>>;

/// A port whose connections go to the coordinator that was plugged in last. While there is none, they are closed.
#[derive(Debug)]
pub struct Network {
    address: SocketAddr,
    route: Route,
    counter: Arc<Counter>,
    accepting: JoinHandle<()>,
}

/// What came over a [`Network`] so far.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Connections.
    pub connections: u64,
    /// Bytes from clients.
    pub up: u64,
}

#[derive(Debug, Default)]
struct Counter {
    connections: AtomicU64,
    up: AtomicU64,
}

/// What happens to connections on their way.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Hears every byte.
    pub tap: Option<Tap>,
    /// A connection breaks once so many bytes have come from its client.
    pub cut_after: Option<u64>,
}

impl Network {
    /// A port that the system chooses.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub async fn new(weather: Weather) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.expect("loopback listens");
        let address = listener.local_addr().expect("a listener has an address");
        let route = Route::default();
        let counter = Arc::<Counter>::default();
        let accepting = tokio::spawn(accept(listener, route.clone(), weather, counter.clone()));
        Self { address, route, counter, accepting }
    }

    /// What came so far.
    pub fn count(&self) -> Count {
        let Counter { connections, up } = &*self.counter;
        Count { connections: connections.load(Ordering::Relaxed), up: up.load(Ordering::Relaxed) }
    }

    /// From now on connections come here.
    pub fn plug(&self) -> Incoming {
        let (opened, incoming) = mpsc::unbounded_channel();
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Box::pin(UnboundedReceiverStream::new(incoming))
    }

    /// Where the port is.
    pub fn socket(&self) -> SocketAddr {
        self.address
    }

    /// Where the port is, as clients say it.
    ///
    /// # Panics
    /// Never: it is a loopback address.
    pub fn address(&self) -> Address {
        self.address.to_string().parse().expect("a loopback address is an address")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, route: Route, weather: Weather, counter: Arc<Counter>) {
    let mut number = 0;
    while let Ok((stream, from)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        counter.connections.fetch_add(1, Ordering::Relaxed);
        let left = weather.cut_after.unwrap_or(u64::MAX);
        let stream = Counted { stream, left, counter: counter.clone() };
        let io: Box<dyn coordinator::Io> = match &weather.tap {
            Some(tap) => Box::new(Tapped { stream, number, tap: tap.clone() }),
            None => Box::new(stream),
        };
        number += 1;
        let route = route.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(coordinator) = &*route {
            // It may just have been killed; then the connection closes.
            let _ = coordinator.send(Ok(Opened { io, from: from.to_string() }));
        }
    }
}

/// A connection that breaks once `left` bytes have come.
struct Counted<S> {
    stream: S,
    left: u64,
    counter: Arc<Counter>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = buffer.remaining().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let came = part.filled().len();
        buffer.advance(came);
        self.left -= came as u64;
        self.counter.up.fetch_add(came as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The bytes of all connections, both ways.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    heard: Arc<Mutex<BTreeMap<usize, Heard>>>,
}

/// The bytes of one connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// From the client.
    pub up: Vec<u8>,
    /// To the client.
    pub down: Vec<u8>,
}

impl Tap {
    /// Everything so far, one entry a connection.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn of(&self, number: usize, keep: impl FnOnce(&mut Heard)) {
        keep(self.heard.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default());
    }
}

struct Tapped<S> {
    stream: S,
    number: usize,
    tap: Tap,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        self.tap.of(self.number, |heard| heard.up.extend_from_slice(new));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.tap.of(self.number, |heard| heard.down.extend_from_slice(&bytes[..count]));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
