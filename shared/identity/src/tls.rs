//! TLS 1.3 and nothing older, with the ring provider, for HTTP/2.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::{DeviceKey, Fingerprint, IdentityError, ServerIdentity};

/// The name a client asks for, whatever address it connects to. The authority signs for one coordinator alone, so it is the
/// authority that identifies it; an address would only break when a device reaches the coordinator through a forwarded
/// port, another interface or a new lease. (Server certificates name the addresses as well, for other tools.)
pub const SERVER_NAME: &str = "coordinator.fovea";

/// The only application protocol.
const HTTP2: &[u8] = b"h2";

/// The server's side: clients show a certificate of `authority`, or none (then they may only enrol). A certificate of anyone
/// else ends the handshake.
///
/// # Errors
/// Key and certificate do not belong together.
pub fn server_config(
    authority: &CertificateDer<'static>,
    server: ServerIdentity,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let tls = |reason: String| IdentityError::Tls { what: "the server certificate", reason };
    let clients = WebPkiClientVerifier::builder_with_provider(trust(authority)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| tls(error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_single_cert(server.chain, server.key)
        .map_err(|error| tls(error.to_string()))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    // A device connects once in hours: a certificate is checked each time, and nothing is kept of those that have gone.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A device's side before it has a certificate: it trusts the authority with this fingerprint.
///
/// # Errors
/// None in practice; the provider has the cipher suites of TLS 1.3.
pub fn enrolment_config(authority: Fingerprint) -> Result<Arc<ClientConfig>, IdentityError> {
    let tls = |error: Error| IdentityError::Tls { what: "the token", reason: error.to_string() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { authority, provider: provider() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Arc::new(config))
}

/// A client's side: it trusts `authority` and shows `certificate`.
///
/// # Errors
/// Key and certificate do not belong together.
pub fn client_config(
    authority: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: &DeviceKey,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let tls = |error: Error| IdentityError::Tls { what: "the client certificate", reason: error.to_string() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(tls)?
        .with_root_certificates(trust(authority)?)
        .with_client_auth_cert(vec![certificate], key.der())
        .map_err(tls)?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn trust(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    let added = roots.add(authority.clone());
    added.map_err(|error| IdentityError::Tls { what: "the authority", reason: error.to_string() })?;
    Ok(Arc::new(roots))
}

/// Accepts a server whose chain contains the authority with one fingerprint, and verifies the chain against it.
#[derive(Debug)]
struct Pinned {
    authority: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority =
            intermediates.iter().find(|certificate| Fingerprint::of(certificate) == self.authority);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
