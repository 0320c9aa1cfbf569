//! Real TLS: who gets in, and as whom.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::tls::{SERVER_NAME, client_config, enrolment_config, server_config};
use identity::{Authority, DeviceKey, Token};
use protocol::id::ClientId;
use protocol::message::ToClient;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tonic::Code;
use wire::decode::{Enrolled, Enrolment};
use wire::grpc::{Stamp, enrolment_client, federation_client};
use wire::{decode, encode};

use super::peer::{Host, Peer, channel, config};
use crate::state::StateFolder;
use crate::store::memory::MemoryStore;
use crate::tokens::Tokens;
use crate::{Security, authority};

struct World {
    folder: tempfile::TempDir,
    authority: Arc<Authority>,
    host: Host,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFolder::open(folder.path()).unwrap();
    let now = SystemTime::now();
    let authority = Arc::new(authority::open(&state, now).unwrap());
    let server = authority.issue_server(&[], now).unwrap();
    let config_of_server = server_config(authority.certificate(), server).unwrap();
    let tokens = Tokens::open(&state).unwrap();
    let security = Security::Tls { authority: authority.clone(), tokens, config: config_of_server };
    let host = Host::with(config(|_| {}), &MemoryStore::default(), security, None);
    World { folder, authority, host }
}

impl World {
    fn token(&self) -> Token {
        crate::create_token(self.folder.path(), Duration::from_secs(60), 1).unwrap()
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<DuplexStream>> {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        TlsConnector::from(config).connect(name, self.host.open()).await
    }

    async fn enrol(
        &self,
        token: &Token,
        key: &DeviceKey,
        name: Option<&str>,
    ) -> Result<Enrolled, tonic::Status> {
        let io = self.connect(enrolment_config(token.authority).unwrap()).await.unwrap();
        let asked = Enrolment {
            protocol: protocol::PROTOCOL_VERSION,
            secret: token.secret.bytes(),
            signing_request: key.signing_request().unwrap(),
            name: name.map(|name| ClientId::new(name).unwrap()),
        };
        let reply = enrolment_client(channel(io).await).enrol(encode::enrol_request(&asked)).await?;
        Ok(decode::enrol_reply(reply.into_inner()).unwrap())
    }

    async fn peer(&self, config: Arc<ClientConfig>) -> Peer {
        let io = self.connect(config).await.unwrap();
        Peer { federation: federation_client(channel(io).await, Stamp::secure()) }
    }
}

fn config_of(enrolled: &Enrolled, key: &DeviceKey) -> Arc<ClientConfig> {
    let authority = CertificateDer::from(enrolled.authority.clone());
    client_config(&authority, CertificateDer::from(enrolled.certificate.clone()), key).unwrap()
}

#[tokio::test]
async fn a_token_makes_a_client_and_the_certificate_names_it() {
    let world = world();
    let (token, key) = (world.token(), DeviceKey::generate().unwrap());
    let enrolled = world.enrol(&token, &key, Some("gate-7")).await.unwrap();
    assert_eq!(enrolled.client.as_str(), "gate-7");
    assert_eq!(identity::Fingerprint::of(&enrolled.authority), token.authority);

    // What the metadata claims does not matter.
    let io = world.connect(config_of(&enrolled, &key)).await.unwrap();
    let claims = Stamp::insecure(&ClientId::new("somebody-else").unwrap());
    let mut peer = Peer { federation: federation_client(channel(io).await, claims) };
    let mut old = peer.join().await.unwrap();
    old.welcome().await;
    let mut again = world.peer(config_of(&enrolled, &key)).await;
    again.join().await.unwrap().welcome().await;
    let status = old.hear().await.unwrap_err();
    assert_eq!(status.message(), "another session of this client has taken over");
}

#[tokio::test(start_paused = true)]
async fn tokens_and_names_are_used_once() {
    let world = world();
    let token = world.token();
    let (key, other_key) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    world.enrol(&token, &key, Some("gate-7")).await.unwrap();
    let used = world.enrol(&token, &other_key, None).await.unwrap_err();
    assert_eq!(used.code(), Code::PermissionDenied);
    assert_eq!(used.message(), "the token has been used: ask for a new one (coordinator token create)");
    let taken = world.enrol(&world.token(), &other_key, Some("gate-7")).await.unwrap_err();
    assert_eq!(taken.message(), "there is already a client called gate-7: choose another name");
    let unnamed = world.enrol(&world.token(), &other_key, None).await.unwrap();
    assert!(unnamed.client.as_str().starts_with("client-"));
    let guess = Token { secret: identity::Secret::generate().unwrap(), ..token };
    let wrong = world.enrol(&guess, &other_key, None).await.unwrap_err();
    assert!(wrong.message().starts_with("wrong token: "), "{wrong}");
}

/// The device may ask again with the same key when the answer was lost on the way.
#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again() {
    let world = world();
    let (token, key) = (world.token(), DeviceKey::generate().unwrap());
    let first = world.enrol(&token, &key, Some("gate-7")).await.unwrap();
    let second = world.enrol(&token, &key, Some("gate-7")).await.unwrap();
    assert_eq!(second.client, first.client);
    world.peer(config_of(&second, &key)).await.join().await.unwrap().welcome().await;
}

#[tokio::test]
async fn without_a_certificate_one_can_only_enrol() {
    let world = world();
    let mut peer = world.peer(enrolment_config(world.authority.fingerprint()).unwrap()).await;
    let status = peer.join().await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "no client certificate: join first (client join ADDRESS --token ...)");
}

#[tokio::test]
async fn a_foreign_certificate_does_not_get_as_far_as_a_request() {
    let world = world();
    let elsewhere = Authority::create(SystemTime::now()).unwrap();
    let key = DeviceKey::generate().unwrap();
    let name = ClientId::new("intruder").unwrap();
    let certificate =
        elsewhere.issue_client(&key.signing_request().unwrap(), &name, SystemTime::now()).unwrap();
    let config = client_config(world.authority.certificate(), certificate, &key).unwrap();
    // In TLS 1.3 the client's handshake is over before the server has seen its certificate; the refusal meets its first word.
    let io = world.connect(config).await.unwrap();
    let mut peer = Peer { federation: federation_client(channel(io).await, Stamp::secure()) };
    let status = peer.join().await.map(drop).unwrap_err();
    assert!(!matches!(status.code(), Code::Ok | Code::Unauthenticated), "{status}");
}

#[tokio::test]
async fn a_run_over_tls_is_a_run() {
    let world = world();
    let mut talks = Vec::new();
    for name in ["one", "two"] {
        let key = DeviceKey::generate().unwrap();
        let enrolled = world.enrol(&world.token(), &key, Some(name)).await.unwrap();
        let mut peer = world.peer(config_of(&enrolled, &key)).await;
        talks.push((peer.join().await.unwrap(), peer));
    }
    for (talk, peer) in &mut talks {
        let run = talk.welcome().await;
        let plan = talk.plan().await;
        assert!(!peer.download(run, 0).await.unwrap().is_empty());
        let (header, payload) = super::update(run, &plan, 0.5);
        peer.upload(&header, &payload).await.unwrap();
    }
    let (talk, _) = &mut talks[0];
    assert!(matches!(talk.hear().await.unwrap(), Some(ToClient::Evaluate { .. })));
}
