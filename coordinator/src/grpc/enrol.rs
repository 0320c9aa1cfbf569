//! Enrolment: a token and a signing request for a certificate.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use identity::{Authority, Secret, key_of};
use params::Digest;
use protocol::id::ClientId;
use tonic::{Request, Response, Status};
use wire::decode::{Enrolled as Reply, Enrolment as Asked};
use wire::grpc::{Enrolment, compare_protocol};
use wire::status::CallError;
use wire::{decode, encode, proto};

use crate::limits::WRONG_TOKEN_PAUSE;
use crate::store::{Enrolled, Entry, StoreError};
use crate::tokens::{TokenRefusal, Tokens, unix_s};
use crate::{SharedStore, locked};

/// Gives certificates to devices that were invited.
pub(crate) struct EnrolmentService {
    pub(crate) authority: Arc<Authority>,
    /// Held through a whole enrolment, so that two devices cannot get one name.
    pub(crate) tokens: Arc<Mutex<Tokens>>,
    pub(crate) store: SharedStore,
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<proto::EnrolRequest>,
    ) -> Result<Response<proto::EnrolReply>, Status> {
        let request = request.into_inner();
        compare_protocol(request.protocol)?;
        let asked = decode::enrol_request(request).map_err(CallError::Decode)?;
        let (authority, tokens, store) = (self.authority.clone(), self.tokens.clone(), self.store.clone());
        let enrolled = tokio::task::spawn_blocking(move || enrol(&authority, &tokens, &store, &asked)).await;
        match enrolled.map_err(|error| CallError::Failed(error.to_string()))? {
            Ok(reply) => {
                tracing::info!(client = %reply.client, "enrolled");
                Ok(Response::new(encode::enrol_reply(&reply)))
            }
            Err(error) => {
                tracing::info!(reason = %error, "enrolment refused");
                tokio::time::sleep(WRONG_TOKEN_PAUSE).await;
                Err(error.into())
            }
        }
    }
}

/// Why a device gets no certificate.
enum Refused {
    Token(TokenRefusal),
    Name(ClientId),
    Store(StoreError),
}

impl From<TokenRefusal> for Refused {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Token(refusal)
    }
}

fn enrol(
    authority: &Authority,
    tokens: &Mutex<Tokens>,
    store: &SharedStore,
    asked: &Asked,
) -> Result<Reply, CallError> {
    let now = SystemTime::now();
    let unreadable = |error: identity::IdentityError| CallError::Forbidden(error.to_string());
    // First, so that a request that cannot be signed uses no token.
    let key = key_of(&asked.signing_request).map_err(unreadable)?;
    let mut tokens = locked(tokens);
    let name = || choose_name(store, asked.name.as_ref(), &key);
    let client = tokens.redeem(&Secret::from_bytes(asked.secret), key, now, name);
    let client = client.map_err(|refused| match refused {
        Refused::Token(TokenRefusal::State(error)) => CallError::Failed(error.to_string()),
        Refused::Token(refusal) => CallError::Token(refusal.to_string()),
        Refused::Name(name) => {
            let taken = format!("there is already a client called {name}: choose another name");
            CallError::Forbidden(taken)
        }
        Refused::Store(error) => CallError::Failed(error.to_string()),
    })?;
    let failed = |error: StoreError| CallError::Failed(error.to_string());
    let mut store = locked(store);
    if store.enrolled(&client).map_err(failed)?.is_none() {
        let enrolled = Enrolled { client: client.clone(), at_unix_s: unix_s(now) };
        store.append(&[Entry::Enrolled(enrolled)]).map_err(failed)?;
    }
    let certificate = authority.issue_client(&asked.signing_request, &client, now).map_err(unreadable)?;
    let (certificate, authority) = (certificate.to_vec(), authority.certificate().to_vec());
    Ok(Reply { client, certificate, authority })
}

/// The name that was asked for if it is free; if none was, one made of the key.
fn choose_name(store: &SharedStore, wanted: Option<&ClientId>, key: &Digest) -> Result<ClientId, Refused> {
    if let Some(wanted) = wanted {
        let taken = locked(store).enrolled(wanted).map_err(Refused::Store)?.is_some();
        return if taken { Err(Refused::Name(wanted.clone())) } else { Ok(wanted.clone()) };
    }
    let digits: String = key.to_string().chars().take(12).collect();
    let Ok(name) = ClientId::new(format!("client-{digits}")) else {
        unreachable!("hexadecimal digits are allowed in names")
    };
    Ok(name)
}
