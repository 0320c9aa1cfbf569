//! A bad link in this process: a TCP proxy that is slow, far away and lossy, and that is cut again and again.

mod path;

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use path::{FIRST_TIMEOUT, Path, SENDER_BYTES};

/// A handshake whose packets are lost for so long goes on all the same.
const HANDSHAKE_MOST: Duration = Duration::from_secs(15);

/// What a link is like. Times are those of the link: its clock may run faster than ours, see [`Link::open`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// What it carries, each way, headers of TCP and IP included; bytes per second.
    pub bytes_per_second: f64,
    /// From one end to the other.
    pub delay: Duration,
    /// Share of the packets that are lost, 0 to 1.
    pub loss: f64,
    /// How often every connection is cut.
    pub cut: Option<Cut>,
}

/// When connections are cut: both sockets are closed where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// All connections, every so often, by the link's clock.
    Every(Duration),
    /// A connection that has taken so many bytes from its client.
    After(u64),
}

impl Conditions {
    /// 256 kbit/s each way, 300 ms to and fro, 5 % of the packets lost, cut every 20 s.
    pub const BAD: Self = Self {
        bytes_per_second: 32_000.0,
        delay: Duration::from_millis(150),
        loss: 0.05,
        cut: Some(Cut::Every(Duration::from_secs(20))),
    };

    /// How long one connection that is never cut takes to bring so many bytes across, once it is open: what TCP by itself makes of the link.
    pub fn transfer(&self, bytes: usize, seed: u64) -> Duration {
        let mut path = Path::new(*self, ChaCha8Rng::seed_from_u64(seed));
        let (mut now, mut arrived, mut left) = (Duration::ZERO, Vec::new(), bytes);
        loop {
            let piece = left.min(path.room());
            path.offer(&vec![0; piece]);
            left -= piece;
            path.advance(now, &mut arrived);
            if arrived.len() == bytes {
                return now;
            }
            now = path.next().unwrap_or(now);
        }
    }
}

/// What went through a [`Link`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Bytes that clients gave to TCP.
    pub up: u64,
    /// Bytes that crossed the link from clients: packets with their headers, lost ones and repeated ones included.
    pub packets_up: u64,
}

#[derive(Debug, Default)]
struct Counter {
    connections: AtomicU64,
    cuts: AtomicU64,
    up: AtomicU64,
    packets_up: AtomicU64,
}

/// A port of loopback that leads over a bad link to another port, until it is dropped.
///
/// Each direction of a connection is a TCP stream of its own over the link, see [`path`]; beside it there is an opening
/// handshake of one round trip, and 1 s, 2 s, … more for each of its packets that is lost (RFC 6298, section 2). The bytes
/// themselves go through sockets of this machine's loopback, whose buffers come on top; back-pressure reaches the client, since no more is
/// taken from it than a socket's buffer holds.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    counter: Arc<Counter>,
    accepting: JoinHandle<()>,
}

/// How a direction, or a connection, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    Cut,
}

/// The link's clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    speed: f64,
}

impl Clock {
    fn now(self) -> Duration {
        self.started.elapsed().mul_f64(self.speed)
    }

    async fn reach(self, time: Duration) {
        sleep_until(self.started + time.div_f64(self.speed)).await;
    }
}

impl Link {
    /// Opens a port that leads to `target`. The link's clock runs `speed` times as fast as ours: all times are shorter by that, and rates higher,
    /// while what is on its way at a time stays the same. Losses, and when the first cut comes, follow from the `seed`.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub async fn open(target: SocketAddr, conditions: Conditions, speed: f64, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback listens");
        let address = listener.local_addr().expect("a listener has an address");
        let counter = Arc::<Counter>::default();
        let clock = Clock { started: Instant::now(), speed };
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let shared = Shared { target, conditions, clock, phase: dice.random(), counter: counter.clone() };
        let accepting = tokio::spawn(accept(listener, shared, dice));
        Self { address, counter, accepting }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went through it so far.
    pub fn carried(&self) -> Carried {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counter { connections, cuts, up, packets_up } = &*self.counter;
        Carried {
            connections: read(connections),
            cuts: read(cuts),
            up: read(up),
            packets_up: read(packets_up),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What all connections of a link share.
#[derive(Clone)]
struct Shared {
    target: SocketAddr,
    conditions: Conditions,
    clock: Clock,
    /// When the first cut comes, in parts of the time between two.
    phase: f64,
    counter: Arc<Counter>,
}

async fn accept(listener: TcpListener, shared: Shared, mut dice: ChaCha8Rng) {
    // They end with the link.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        shared.counter.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(shared.clone().connection(client, ChaCha8Rng::seed_from_u64(dice.random())));
    }
}

impl Shared {
    /// From the first packet to the end; whatever that is, both sockets are closed after it.
    async fn connection(self, mut client: TcpStream, mut dice: ChaCha8Rng) {
        let cut = self.next_cut();
        let mut coordinator = None;
        let was_cut = tokio::select! {
            () = cut => true,
            carried = self.carry(&mut client, &mut coordinator, &mut dice) => carried.is_ok_and(|ending| ending == Ending::Cut),
        };
        if was_cut {
            self.counter.cuts.fetch_add(1, Ordering::Relaxed);
            for socket in [Some(&client), coordinator.as_ref()].into_iter().flatten() {
                // What it holds is lost.
                let _ = socket.set_zero_linger();
            }
        }
    }

    /// Waits for the next cut of all connections.
    async fn next_cut(&self) {
        let Some(Cut::Every(interval)) = self.conditions.cut else { return pending().await };
        let cuts = (self.clock.now().as_secs_f64() / interval.as_secs_f64() - self.phase).ceil();
        self.clock.reach(interval.mul_f64(cuts + self.phase)).await;
    }

    async fn carry(
        &self,
        client: &mut TcpStream,
        coordinator: &mut Option<TcpStream>,
        dice: &mut ChaCha8Rng,
    ) -> io::Result<Ending> {
        self.clock.reach(self.clock.now() + self.opening(dice)).await;
        let coordinator = coordinator.insert(TcpStream::connect(self.target).await?);
        for socket in [&*client, &*coordinator] {
            socket.set_nodelay(true)?;
        }
        let (from_client, to_client) = client.split();
        let (from_coordinator, to_coordinator) = coordinator.split();
        let mut path = || Path::new(self.conditions, ChaCha8Rng::seed_from_u64(dice.random()));
        let up = self.direction(path(), from_client, to_coordinator, Some(&self.counter));
        let down = self.direction(path(), from_coordinator, to_client, None);
        let (mut up, mut down) = (pin!(up), pin!(down));
        // One side may have ended what it says and still listen.
        tokio::select! {
            ending = &mut up => match ending? {
                Ending::Cut => Ok(Ending::Cut),
                Ending::Closed => down.await,
            },
            ending = &mut down => {
                ending?;
                up.await
            }
        }
    }

    /// How long it takes to open a connection over the link.
    fn opening(&self, dice: &mut ChaCha8Rng) -> Duration {
        let Conditions { delay, loss, .. } = self.conditions;
        let (mut takes, mut patience) = (2 * delay, FIRST_TIMEOUT);
        // Lost is the packet or its answer.
        while dice.random::<f64>() < 1.0 - (1.0 - loss).powi(2) && takes < HANDSHAKE_MOST {
            takes += patience;
            patience *= 2;
        }
        takes
    }

    /// Brings over what one side says, until it has said all.
    async fn direction(
        &self,
        mut path: Path,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        count: Option<&Counter>,
    ) -> io::Result<Ending> {
        let after = match self.conditions.cut {
            Some(Cut::After(bytes)) if count.is_some() => bytes,
            _ => u64::MAX,
        };
        let (mut taken, mut crossed, mut open) = (0, 0, true);
        let (mut buffer, mut arrived) = (vec![0; SENDER_BYTES], Vec::new());
        loop {
            path.advance(self.clock.now(), &mut arrived);
            to.write_all(&arrived).await?;
            arrived.clear();
            if let Some(count) = count {
                count.packets_up.fetch_add(path.crossed() - crossed, Ordering::Relaxed);
                crossed = path.crossed();
            }
            if taken >= after {
                return Ok(Ending::Cut);
            }
            let (room, next) = (path.room(), path.next());
            if !open && next.is_none() {
                to.shutdown().await?;
                return Ok(Ending::Closed);
            }
            tokio::select! {
                read = from.read(&mut buffer[..room]), if open && room > 0 => {
                    let read = read?;
                    open = read > 0;
                    taken += read as u64;
                    path.offer(&buffer[..read]);
                    if let Some(count) = count {
                        count.up.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
                () = self.clock.reach(next.unwrap_or_default()), if next.is_some() => {}
            }
        }
    }
}
