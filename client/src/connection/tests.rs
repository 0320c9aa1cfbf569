//! Real handshakes over loopback, each wrong in one way.

use std::time::SystemTime;

use identity::{Authority, DeviceKey, tls};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::session::{End, News, Session};

fn authority() -> Authority {
    Authority::create(SystemTime::now()).unwrap()
}

fn credentials(signer: &Authority, trusted: &Authority) -> Credentials {
    let key = DeviceKey::generate().unwrap();
    let client = ClientId::new("camera").unwrap();
    let certificate =
        signer.issue_client(&key.signing_request().unwrap(), &client, SystemTime::now()).unwrap();
    Credentials { key, certificate, authority: trusted.certificate().clone() }
}

/// A server that answers handshakes until the runtime ends, and reads what comes.
async fn server(authority: &Authority) -> Address {
    let names = ["127.0.0.1".to_owned()];
    let identity = authority.issue_server(&names, SystemTime::now()).unwrap();
    let acceptor = TlsAcceptor::from(tls::server_config(authority.certificate(), identity).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut pipe) = acceptor.accept(tcp).await {
                let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_coordinator_of_another_authority_is_told_from_ones_own() {
    let (own, other) = (authority(), authority());
    let address = server(&other).await;
    let connector = Connector::secure(&address, &credentials(&own, &own)).unwrap();
    let error = connector.channel().await.unwrap_err();
    assert!(matches!(error, ConnectError::Foreign { .. }), "{error}");
    assert!(!error.can_retry());
    let error = Connector::enrolling(&address, own.fingerprint()).unwrap().channel().await.unwrap_err();
    assert!(matches!(error, ConnectError::Foreign { .. }), "{error}");
    assert!(Connector::enrolling(&address, other.fingerprint()).unwrap().channel().await.is_ok());
}

/// In TLS 1.3 the client learns only after its handshake that its certificate is not accepted.
#[tokio::test]
async fn a_certificate_that_is_not_accepted_ends_the_session_for_good() {
    let (own, other) = (authority(), authority());
    let address = server(&own).await;
    let connector = Connector::secure(&address, &credentials(&other, &own)).unwrap();
    let (news, mut heard) = mpsc::channel(4);
    let _session = Session::open(connector, 1, news);
    loop {
        match heard.recv().await.unwrap().1 {
            News::Open(_) => {}
            News::Ended(End::Unable(error @ ConnectError::Rejected { .. })) => {
                assert!(error.to_string().contains("does not accept this device's certificate"), "{error}");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_coordinator_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let own = authority();
    let connector = Connector::secure(&address, &credentials(&own, &own)).unwrap();
    // A web server that is asked for TLS.
    let answer = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_u8().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let (error, ()) = tokio::join!(connector.channel(), answer);
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectError::NotTls { .. }), "{error}");
    assert!(error.can_retry());
    // Nobody at all.
    drop(listener);
    let error = connector.channel().await.unwrap_err();
    assert!(error.to_string().contains("cannot reach the coordinator at 127.0.0.1:"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let connector = Connector::new("pipe".to_owned(), Stamp::secure(), || Box::pin(std::future::pending()));
    let error = connector.channel().await.unwrap_err();
    assert_eq!(error.to_string(), "no answer from the coordinator at pipe within 20 s");
}

#[tokio::test]
async fn without_certificates_nothing_leaves_this_machine() {
    let client = ClientId::new("camera").unwrap();
    let elsewhere: Address = "192.0.2.1:7843".parse().unwrap();
    let error = Connector::insecure(&elsewhere, &client).channel().await.unwrap_err();
    assert!(matches!(error, ConnectError::NotLoopback { .. }), "{error}");
    assert!(!error.can_retry());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().to_string().parse().unwrap();
    assert!(Connector::insecure(&here, &client).channel().await.is_ok());
}
