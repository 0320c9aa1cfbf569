//! Becoming a client: the key is made here and stays here, the coordinator gives a certificate for it.

use std::path::Path;

use identity::{DeviceKey, IdentityError, Token, client_of};
use protocol::PROTOCOL_VERSION;
use protocol::id::ClientId;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use wire::decode::{DecodeError, Enrolment};
use wire::grpc::enrolment_client;
use wire::{decode, encode};

use crate::address::Address;
use crate::connection::{ConnectError, Connector};
use crate::folder::{Folder, FolderError, Member};
use crate::session::words;

/// Why a device has not become a client.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The state folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another coordinator than the one that made the token.
    #[error(
        "the coordinator at {address} is not the one that made this token: check the address, or get a token from it"
    )]
    OtherCoordinator {
        /// Where it is.
        address: Address,
    },
    /// The coordinator says no.
    #[error("the coordinator at {address} refuses: {reason}")]
    Refused {
        /// Where it is.
        address: Address,
        /// Its words.
        reason: String,
    },
    /// The coordinator answers with something that is no answer.
    #[error("the coordinator at {address} sent a malformed answer: {source}")]
    Malformed {
        /// Where it is.
        address: Address,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The certificate does not fit the key, the name or the authority.
    #[error("the coordinator at {address} sent a certificate that is of no use: {reason}")]
    Certificate {
        /// Where it is.
        address: Address,
        /// What is wrong with it.
        reason: String,
    },
    /// No key can be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Exchanges a token for a certificate, and makes `state` the folder of the new client.
///
/// # Errors
/// See [`EnrolError`]. The folder is written to before the token is used, so that a full disk does not cost it.
pub async fn enrol(
    state: &Path,
    address: &Address,
    token: &Token,
    name: Option<ClientId>,
) -> Result<Member, EnrolError> {
    let folder = Folder::prepare(state)?;
    let key = DeviceKey::generate()?;
    folder.store_key(&key)?;
    let channel =
        Connector::enrolling(address, token.authority)?.channel().await.map_err(|error| match error {
            ConnectError::Foreign { .. } => EnrolError::OtherCoordinator { address: address.clone() },
            other => other.into(),
        })?;
    let request = Enrolment {
        protocol: PROTOCOL_VERSION,
        secret: token.secret.bytes(),
        signing_request: key.signing_request()?,
        name,
    };
    let answer = enrolment_client(channel).enrol(encode::enrol_request(&request)).await;
    let answer = answer
        .map_err(|status| EnrolError::Refused { address: address.clone(), reason: words(&status) })?
        .into_inner();
    let enrolled = decode::enrol_reply(answer)
        .map_err(|source| EnrolError::Malformed { address: address.clone(), source })?;

    let useless = |reason: String| EnrolError::Certificate { address: address.clone(), reason };
    let certificate = CertificateDer::from(enrolled.certificate);
    let authority = CertificateDer::from(enrolled.authority);
    if identity::Fingerprint::of(&authority) != token.authority {
        return Err(useless("it is signed by another authority than the token names".to_owned()));
    }
    let client = client_of(&certificate).map_err(|error| useless(error.to_string()))?;
    if client != enrolled.client {
        return Err(useless(format!("it is for {client}, announced was {}", enrolled.client)));
    }
    // TLS finds out whether it fits the key.
    identity::tls::client_config(&authority, certificate.clone(), &key)
        .map_err(|error| useless(error.to_string()))?;
    let member = Member { client, coordinator: address.clone(), secure: true };
    folder.settle(&member, Some((&certificate, &authority)))?;
    Ok(member)
}

/// Makes `state` the folder of a client without certificate, once somebody answers at `address`.
///
/// # Errors
/// The folder, the connection, an address beyond this machine.
pub async fn enrol_insecure(state: &Path, address: &Address, client: ClientId) -> Result<Member, EnrolError> {
    let folder = Folder::prepare(state)?;
    Connector::insecure(address, &client).channel().await?;
    let member = Member { client, coordinator: address.clone(), secure: false };
    folder.settle(&member, None)?;
    Ok(member)
}
