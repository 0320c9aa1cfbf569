//! How a device reaches its coordinator: one connection at a time, TLS included, over which everything travels.
//!
//! A channel is one connection and never a new one: when it breaks, the session on it ends, and client-core decides when
//! to try again.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use identity::tls::{SERVER_NAME, client_config, enrolment_config};
use identity::{Fingerprint, IdentityError};
use protocol::id::ClientId;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use wire::grpc::{FederationChannel, Stamp, federation_client};

use crate::address::Address;
use crate::folder::Credentials;

mod watched;

pub(crate) use watched::Verdict;
use watched::Watched;

/// From the first packet to a finished handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A silent connection is asked for a sign of life this often: training takes hours, and whatever forwards packets in
/// between forgets idle connections after minutes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// No sign of life for this long: the connection is dead.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens there, or the way is barred.
    #[error("cannot reach the coordinator at {target}: {reason}")]
    Unreachable {
        /// Where it should be.
        target: String,
        /// What the operating system or the peer says.
        reason: String,
    },
    /// Nobody answers.
    #[error("no answer from the coordinator at {target} within {seconds} s")]
    Silent {
        /// Where it should be.
        target: String,
        /// Time waited.
        seconds: u64,
    },
    /// Another coordinator than the one that was joined.
    #[error(
        "the coordinator at {target} is not the one this device belongs to: its certificate is signed by another \
             authority; correct the address, or join it with a new token and an empty state folder"
    )]
    Foreign {
        /// Where it should be.
        target: String,
    },
    /// The coordinator does not accept the device's certificate.
    #[error(
        "the coordinator at {target} does not accept this device's certificate ({reason}): join again with a new token \
             and an empty state folder"
    )]
    Rejected {
        /// Where it is.
        target: String,
        /// What TLS says.
        reason: String,
    },
    /// Certificates that are valid at another time.
    #[error("the certificate of the coordinator at {target} is not valid now: set this device's clock")]
    Clock {
        /// Where it is.
        target: String,
    },
    /// Something else listens there.
    #[error(
        "what answers at {target} does not speak TLS: is it a coordinator with --insecure, or another program?"
    )]
    NotTls {
        /// Where it should be.
        target: String,
    },
    /// Without certificates, nobody else may be able to listen.
    #[error("{target} is not on this machine: --insecure works over loopback only")]
    NotLoopback {
        /// Where it should be.
        target: String,
    },
}

impl ConnectError {
    /// Whether trying again can help.
    pub fn can_retry(&self) -> bool {
        !matches!(self, Self::Foreign { .. } | Self::Rejected { .. } | Self::NotLoopback { .. })
    }
}

/// A byte stream to a coordinator.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// A connection attempt.
pub type Dialled = Pin<Box<dyn Future<Output = Result<Box<dyn Pipe>, ConnectError>> + Send>>;

/// Makes connections to one coordinator.
#[derive(Clone)]
pub struct Connector {
    target: String,
    /// What may be wrong when the connection ends before anything is said.
    hint: &'static str,
    stamp: Stamp,
    dial: Arc<dyn Fn() -> Dialled + Send + Sync>,
}

impl Connector {
    /// With certificates.
    ///
    /// # Errors
    /// Key and certificate do not belong together.
    pub fn secure(address: &Address, credentials: &Credentials) -> Result<Self, IdentityError> {
        let Credentials { key, certificate, authority } = credentials;
        Ok(Self::with_tls(address, client_config(authority, certificate.clone(), key)?))
    }

    /// To enrol: the device trusts the authority with this fingerprint and shows nothing.
    ///
    /// # Errors
    /// None in practice.
    pub fn enrolling(address: &Address, authority: Fingerprint) -> Result<Self, IdentityError> {
        Ok(Self::with_tls(address, enrolment_config(authority)?))
    }

    /// Without certificates, over loopback: the coordinator believes the name.
    pub fn insecure(address: &Address, client: &ClientId) -> Self {
        let address = address.clone();
        let connector = Self::new(address.to_string(), Stamp::insecure(client), move || {
            let address = address.clone();
            Box::pin(async move { Ok(Box::new(dial(&address, IpAddr::is_loopback).await?) as Box<dyn Pipe>) })
        });
        Self { hint: " (is it a coordinator with --insecure?)", ..connector }
    }

    /// Over whatever `dial` gives; `target` names it in messages.
    pub fn new(target: String, stamp: Stamp, dial: impl Fn() -> Dialled + Send + Sync + 'static) -> Self {
        Self { target, hint: "", stamp, dial: Arc::new(dial) }
    }

    fn with_tls(address: &Address, tls: Arc<ClientConfig>) -> Self {
        let (address, tls) = (address.clone(), TlsConnector::from(tls));
        Self::new(address.to_string(), Stamp::secure(), move || {
            let (address, tls) = (address.clone(), tls.clone());
            Box::pin(async move {
                let tcp = dial(&address, |_| true).await?;
                let target = address.to_string();
                let name = ServerName::try_from(SERVER_NAME).map_err(|error| explain(&target, &error))?;
                let pipe = tls.connect(name, tcp).await;
                pipe.map(|pipe| Box::new(pipe) as Box<dyn Pipe>).map_err(|error| explain(&target, &error))
            })
        })
    }

    /// Where it connects to.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What may be wrong when the connection ends before anything is said; may be empty.
    pub(crate) fn hint(&self) -> &'static str {
        self.hint
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody there, or not the one that was expected.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        self.open().await.map(|(channel, _)| channel)
    }

    /// Connects, to take part in the federation.
    ///
    /// # Errors
    /// As [`Connector::channel`].
    pub async fn federation(&self) -> Result<FederationChannel, ConnectError> {
        self.watched().await.map(|(channel, _)| channel)
    }

    /// Connects, to take part in the federation; with what TLS will have said when the connection has ended.
    pub(crate) async fn watched(&self) -> Result<(FederationChannel, Verdict), ConnectError> {
        let (channel, verdict) = self.open().await?;
        Ok((federation_client(channel, self.stamp.clone()), verdict))
    }

    async fn open(&self) -> Result<(Channel, Verdict), ConnectError> {
        let target = || self.target.clone();
        let silent = |_| ConnectError::Silent { target: target(), seconds: CONNECT_TIMEOUT.as_secs() };
        let pipe = timeout(CONNECT_TIMEOUT, (self.dial)()).await.map_err(silent)??;
        let verdict = Verdict::default();
        let mut pipe = Some(TokioIo::new(Watched { pipe, verdict: verdict.clone() }));
        let once = tower::service_fn(move |_: Uri| {
            let pipe = pipe.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(pipe)
        });
        // The address is for the connector alone, and the authority in a request means nothing to the coordinator.
        let endpoint = Endpoint::from_static("http://coordinator.fovea")
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector(once).await;
        channel.map(|channel| (channel, verdict)).map_err(|error| explain(&self.target, &error))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.target)
    }
}

/// Tries the addresses of a host until one answers.
async fn dial(address: &Address, allowed: fn(&IpAddr) -> bool) -> Result<TcpStream, ConnectError> {
    let target = address.to_string();
    let unreachable = |reason: String| ConnectError::Unreachable { target: target.clone(), reason };
    let found = lookup_host((address.host(), address.port()))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let mut last = unreachable("the name has no address".to_owned());
    for place in found {
        if !allowed(&place.ip()) {
            return Err(ConnectError::NotLoopback { target });
        }
        match TcpStream::connect(place).await {
            Ok(tcp) => {
                // Instructions are small and must not wait for more bytes to go with them.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(error) => last = unreachable(error.to_string()),
        }
    }
    Err(last)
}

/// What an error of the connection means to the device's owner.
fn explain(target: &str, error: &(dyn Error + 'static)) -> ConnectError {
    match find_tls(error) {
        Some(tls) => explain_tls(target, tls),
        None => ConnectError::Unreachable { target: target.to_owned(), reason: innermost(error) },
    }
}

/// What an error of TLS means to the device's owner.
pub(crate) fn explain_tls(target: &str, error: &rustls::Error) -> ConnectError {
    use AlertDescription as Alert;
    let target = target.to_owned();
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => ConnectError::Clock { target },
        rustls::Error::InvalidCertificate(_) => ConnectError::Foreign { target },
        rustls::Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            // The certificate's signature does not come from the authority it names.
            | Alert::DecryptError),
        ) => ConnectError::Rejected { target, reason: format!("{alert:?}") },
        rustls::Error::InvalidMessage(_) => ConnectError::NotTls { target },
        other => ConnectError::Unreachable { target, reason: other.to_string() },
    }
}

/// The TLS error at the bottom of another error, if that is what it is.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The words of the cause: outer layers say "transport error" and no more.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let words = innermost.to_string();
    // What rustls says of a peer that has gone without a word, with a link to its manual.
    if words.contains("close_notify") { "the connection has been closed".to_owned() } else { words }
}

#[cfg(test)]
mod tests;
