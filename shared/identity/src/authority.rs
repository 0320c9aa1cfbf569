//! The coordinator's own certificate authority: signs its server certificate and those of its clients, and nothing else.

use std::time::{Duration, SystemTime};

use params::Digest;
use protocol::id::ClientId;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::tls::SERVER_NAME;
use crate::{Fingerprint, IdentityError, random};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A new certificate is valid from a day ago: devices' clocks are often wrong by hours.
const CLOCK_SKEW: Duration = DAY;
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
const SERVER_LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
const CLIENT_LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// The authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a server needs to prove who it is.
pub struct ServerIdentity {
    /// Its certificate, then the authority's (so that a device that knows only a fingerprint can find it).
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn create(now: SystemTime) -> Result<Self, IdentityError> {
        let make = |error: rcgen::Error| IdentityError::Make { what: "authority", reason: error.to_string() };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params_for("Fovea coordinator authority", now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?.der().clone();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// An authority from what [`Authority::certificate_pem`] and [`Authority::key_pem`] gave.
    ///
    /// # Errors
    /// Not PEM, not a key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let unreadable = |what: &'static str| {
            move |error: &dyn std::fmt::Display| IdentityError::Unreadable { what, reason: error.to_string() }
        };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| unreadable("authority certificate")(&error))?;
        let key = KeyPair::from_pem(key).map_err(|error| unreadable("authority key")(&error))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| unreadable("authority certificate")(&error))?;
        Ok(Self { certificate, issuer })
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM text.
    pub fn certificate_pem(&self) -> String {
        crate::certificate::to_pem("CERTIFICATE", &self.certificate)
    }

    /// The private key as PEM text: whoever has it can make clients.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// What tokens carry of the authority.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// A server certificate with a new key, for [`SERVER_NAME`] and for these host names and addresses.
    ///
    /// # Errors
    /// A name that is neither a host name nor an address.
    pub fn issue_server(&self, names: &[String], now: SystemTime) -> Result<ServerIdentity, IdentityError> {
        let what = "server certificate";
        let make = |error: rcgen::Error| IdentityError::Make { what, reason: error.to_string() };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params_for("Fovea coordinator", now, SERVER_LIFE)?;
        let names: Vec<String> = [SERVER_NAME.to_owned()].into_iter().chain(names.iter().cloned()).collect();
        params.subject_alt_names = CertificateParams::new(names).map_err(make)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate: Certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(ServerIdentity { chain: vec![certificate.der().clone(), self.certificate.clone()], key })
    }

    /// A client certificate for the key that signed `request` (PKCS #10, DER). Nothing else of the request counts: the name
    /// is the coordinator's decision.
    ///
    /// # Errors
    /// Not a signing request, or one with a wrong signature.
    pub fn issue_client(
        &self,
        request: &[u8],
        client: &ClientId,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(|error| {
            IdentityError::Unreadable { what: "signing request", reason: error.to_string() }
        })?;
        let mut params = params_for(client.as_str(), now, CLIENT_LIFE)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&request.public_key, &self.issuer);
        let what = "client certificate";
        signed
            .map(|certificate| certificate.der().clone())
            .map_err(|error| IdentityError::Make { what, reason: error.to_string() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({:?})", Digest::of(&[&self.certificate]))
    }
}

/// Digest of the public key in a signing request (PKCS #10, DER): who asks again has the same key, whatever the request's
/// signature.
///
/// # Errors
/// Not a signing request, or one with a wrong signature.
pub fn key_of(request: &[u8]) -> Result<Digest, IdentityError> {
    Ok(Digest::of(&[&parse(request)?.public_key.subject_public_key_info()]))
}

fn parse(request: &[u8]) -> Result<CertificateSigningRequestParams, IdentityError> {
    let parsed = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request));
    parsed.map_err(|error| IdentityError::Unreadable { what: "signing request", reason: error.to_string() })
}

/// Common to all certificates: subject, validity, a random serial number.
fn params_for(name: &str, now: SystemTime, life: Duration) -> Result<CertificateParams, IdentityError> {
    let mut serial = [0; 16];
    random(&mut serial)?;
    // The first bit makes a DER integer negative.
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
    params.not_after = OffsetDateTime::from(now + life);
    Ok(params)
}
