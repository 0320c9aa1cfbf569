//! Tokens, names in certificates, and whom each side of TLS lets in.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use protocol::id::ClientId;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::tls::{SERVER_NAME, client_config, enrolment_config, server_config};
use crate::{Authority, DeviceKey, Fingerprint, IdentityError, Secret, Token, TokenError, client_of, key_of};

fn client(name: &str) -> ClientId {
    ClientId::new(name).expect("a valid name")
}

fn authority() -> Authority {
    Authority::create(SystemTime::now()).expect("an authority")
}

fn server_of(authority: &Authority) -> Arc<ServerConfig> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let identity = authority.issue_server(&names, SystemTime::now()).expect("a server certificate");
    server_config(authority.certificate(), identity).expect("a server configuration")
}

/// A client enrolled with `signer` that trusts `trusted`.
fn client_with(signer: &Authority, trusted: &Authority, name: &str) -> Arc<ClientConfig> {
    let key = DeviceKey::generate().expect("a key");
    let request = key.signing_request().expect("a request");
    let certificate = signer.issue_client(&request, &client(name), SystemTime::now()).expect("a certificate");
    client_config(trusted.certificate(), certificate, &key).expect("a client configuration")
}

/// Runs a handshake in memory and sends one byte each way; the server's view of the client's certificate.
fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<Option<CertificateDer<'static>>, rustls::Error> {
    let name = ServerName::try_from(SERVER_NAME).expect("a name");
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    client.writer().write_all(b"c").expect("buffered");
    for _ in 0..8 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("into memory");
        server.read_tls(&mut &wire[..]).expect("from memory");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("into memory");
        client.read_tls(&mut &wire[..]).expect("from memory");
        client.process_new_packets()?;
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("the client's byte");
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    Ok(server.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned()))
}

#[test]
fn a_client_is_known_by_its_certificate() -> Result<(), Box<dyn std::error::Error>> {
    let authority = authority();
    let seen = handshake(client_with(&authority, &authority, "gate-7.north"), server_of(&authority))?;
    assert_eq!(client_of(&seen.ok_or("no certificate")?)?, client("gate-7.north"));
    Ok(())
}

#[test]
fn a_device_with_a_token_gets_in_without_a_certificate() -> Result<(), Box<dyn std::error::Error>> {
    let authority = authority();
    let seen = handshake(enrolment_config(authority.fingerprint())?, server_of(&authority))?;
    assert_eq!(seen, None);
    Ok(())
}

#[test]
fn a_token_of_another_coordinator_is_not_enough() -> Result<(), Box<dyn std::error::Error>> {
    let other = enrolment_config(authority().fingerprint())?;
    let refused = handshake(other, server_of(&authority()));
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    Ok(())
}

/// A man in the middle who has seen the authority's certificate can show it, but cannot sign with it.
#[test]
fn showing_the_authority_without_its_signature_is_not_enough() -> Result<(), Box<dyn std::error::Error>> {
    let (real, mallory) = (authority(), authority());
    let mut identity = mallory.issue_server(&[], SystemTime::now())?;
    identity.chain = vec![identity.chain[0].clone(), real.certificate().clone()];
    let server = server_config(mallory.certificate(), identity)?;
    let refused = handshake(enrolment_config(real.fingerprint())?, server);
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    Ok(())
}

#[test]
fn a_foreign_certificate_ends_the_handshake() {
    let (here, elsewhere) = (authority(), authority());
    let refused = handshake(client_with(&elsewhere, &here, "intruder"), server_of(&here));
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
}

/// A client's certificate is for clients: it cannot pose as the coordinator, nor sign other certificates.
#[test]
fn a_client_certificate_cannot_serve() -> Result<(), Box<dyn std::error::Error>> {
    let authority = authority();
    let key = DeviceKey::generate()?;
    let name = client(SERVER_NAME);
    let certificate = authority.issue_client(&key.signing_request()?, &name, SystemTime::now())?;
    let chain = vec![certificate, authority.certificate().clone()];
    let posing = crate::ServerIdentity { chain, key: key.der() };
    let server = server_config(authority.certificate(), posing)?;
    let refused = handshake(client_with(&authority, &authority, "victim"), server);
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    Ok(())
}

#[test]
fn an_expired_certificate_is_refused() -> Result<(), Box<dyn std::error::Error>> {
    let authority = authority();
    let key = DeviceKey::generate()?;
    let long_ago = SystemTime::now() - Duration::from_secs(10 * 365 * 24 * 3600);
    let certificate = authority.issue_client(&key.signing_request()?, &client("old"), long_ago)?;
    let expired = client_config(authority.certificate(), certificate, &key)?;
    let refused = handshake(expired, server_of(&authority));
    assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    Ok(())
}

#[test]
fn an_authority_survives_storage() -> Result<(), Box<dyn std::error::Error>> {
    let made = authority();
    let read = Authority::from_pem(&made.certificate_pem(), &made.key_pem())?;
    assert_eq!(read.fingerprint(), made.fingerprint());
    let seen = handshake(client_with(&read, &made, "after-restart"), server_of(&made))?;
    assert_eq!(client_of(&seen.ok_or("no certificate")?)?, client("after-restart"));
    Ok(())
}

#[test]
fn a_device_key_survives_storage() -> Result<(), IdentityError> {
    let key = DeviceKey::generate()?;
    let read = DeviceKey::from_pem(&key.pem())?;
    let authority = authority();
    let certificate = authority.issue_client(&key.signing_request()?, &client("a"), SystemTime::now())?;
    client_config(authority.certificate(), certificate, &read)?;
    Ok(())
}

/// Two requests of one key differ in their signatures, but are of the same key.
#[test]
fn a_request_is_known_by_its_key() -> Result<(), IdentityError> {
    let key = DeviceKey::generate()?;
    let (once, again) = (key.signing_request()?, key.signing_request()?);
    assert_ne!(once, again);
    assert_eq!(key_of(&once)?, key_of(&again)?);
    assert_ne!(key_of(&once)?, key_of(&DeviceKey::generate()?.signing_request()?)?);
    Ok(())
}

#[test]
fn damaged_keys_and_requests_are_named() -> Result<(), Box<dyn std::error::Error>> {
    let authority = authority();
    let message = |error: IdentityError| error.to_string();
    let damaged = Authority::from_pem("nothing", &authority.key_pem()).map_err(message);
    assert!(damaged.is_err_and(|line| line.starts_with("cannot read authority certificate: ")));
    let damaged = DeviceKey::from_pem("nothing").map_err(message);
    assert!(damaged.is_err_and(|line| line.starts_with("cannot read device key: ")));
    let mut request = DeviceKey::generate()?.signing_request()?;
    let last = request.len() - 1;
    request[last] ^= 1;
    let refused = authority.issue_client(&request, &client("a"), SystemTime::now()).map_err(message);
    assert!(refused.is_err_and(|line| line.starts_with("cannot read signing request: ")));
    assert!(matches!(client_of(authority.certificate()), Err(IdentityError::NoClient { .. })));
    Ok(())
}

#[test]
fn secrets_do_not_show_in_debug_output() -> Result<(), IdentityError> {
    let token = Token { secret: Secret::from_bytes(*b"0123456789abcdef"), authority: Fingerprint::of(b"x") };
    assert!(format!("{token:?}").contains("Secret(..)"));
    assert_eq!(format!("{:?}", DeviceKey::generate()?), "DeviceKey(..)");
    Ok(())
}

proptest! {
    #[test]
    fn tokens_survive_being_printed(secret in any::<[u8; 16]>(), authority in any::<[u8; 40]>()) {
        let token = Token { secret: Secret::from_bytes(secret), authority: Fingerprint::of(&authority) };
        prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token.clone()));
        // However a terminal or a mail program treats it.
        prop_assert_eq!(format!(" {}\n", token.to_string().to_uppercase().replace("FOVEA", "fovea")).parse(), Ok(token));
    }

    #[test]
    fn any_other_text_is_refused_without_panic(text in ".{0,120}") {
        let _ = text.parse::<Token>();
    }
}

#[test]
fn mistyped_tokens_say_what_is_wrong() {
    #[track_caller]
    fn check(text: &str, expected: TokenError) {
        assert_eq!(text.parse::<Token>(), Err(expected));
    }
    let token = Token { secret: Secret::from_bytes([7; 16]), authority: Fingerprint::of(b"x") };
    let text = token.to_string();
    check("", TokenError::Shape);
    check("hello", TokenError::Shape);
    check(&text.replace("fovea1", "fovea2"), TokenError::Shape);
    check(&format!("{text}-x"), TokenError::Shape);
    let part = "fingerprint";
    check(&text[..text.len() - 1], TokenError::Length { part, expected: 52, found: 51 });
    check(&text.replacen("fovea1-a", "fovea1-!", 1), TokenError::Character { part: "secret" });
}
