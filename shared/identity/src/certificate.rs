//! The device's key and the name in a client's certificate.

use data_encoding::BASE64;
use protocol::id::ClientId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::IdentityError;

/// A key made on the device; it never leaves it.
pub struct DeviceKey(KeyPair);

impl DeviceKey {
    /// A new key (ECDSA on P-256).
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate();
        key.map(Self).map_err(|error| IdentityError::Make { what: "device key", reason: error.to_string() })
    }

    /// A key from what [`DeviceKey::pem`] gave.
    ///
    /// # Errors
    /// Not a PKCS #8 key in PEM.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(text);
        key.map(Self)
            .map_err(|error| IdentityError::Unreadable { what: "device key", reason: error.to_string() })
    }

    /// The private key as PEM text, to be stored with mode 0600.
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A request for a certificate of this key (PKCS #10, DER).
    ///
    /// # Errors
    /// Signing failed.
    pub fn signing_request(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0);
        let what = "signing request";
        request
            .map(|request| request.der().to_vec())
            .map_err(|error| IdentityError::Make { what, reason: error.to_string() })
    }

    /// The private key for TLS.
    pub(crate) fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey(..)")
    }
}

/// The client's name in a certificate that TLS has verified.
///
/// # Errors
/// A certificate without exactly one common name, or with one that is not a client's name.
pub fn client_of(certificate: &CertificateDer<'_>) -> Result<ClientId, IdentityError> {
    let no_client = |reason: String| IdentityError::NoClient { reason };
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| no_client(error.to_string()))?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(no_client("it does not have exactly one common name".to_owned()));
    };
    let name = name.as_str().map_err(|error| no_client(error.to_string()))?;
    ClientId::new(name).map_err(|error| no_client(error.to_string()))
}

/// DER as PEM text.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
