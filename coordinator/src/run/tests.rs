//! The whole shell in one process: real gRPC (and in one file real TLS) over pipes, a model of forty weights.

use std::collections::BTreeMap;

use protocol::message::{Receipt, Refusal, ToClient, ToCoordinator};
use serde_json::Value;
use tonic::Code;
use wire::grpc::{Stamp, federation_client};

use crate::store::memory::MemoryStore;
use crate::store::{Entry, Store};
use peer::{Host, channel, config, hello, obey, update};

mod peer;
mod resume;
mod secure;

#[tokio::test]
async fn two_clients_train_for_two_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::default();
    let run = config(|settings| settings.central_score = true);
    let host = Host::with(run, &store, super::Security::Insecure, Some(folder.path()));
    let (one, two) = tokio::join!(host.client("one"), host.client("two"));
    let (one, two) = tokio::join!(obey(one, 0.5), obey(two, 0.25));
    let expected = BTreeMap::from([("evaluate", 2), ("finished", 1), ("train", 2), ("welcome", 1)]);
    assert_eq!((one.unwrap(), two.unwrap()), (expected.clone(), expected));
    let said = host.said.clone();
    let end = host.end().await.unwrap();
    assert!(end.complete && !end.stopped, "{end:?}");

    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for (number, round) in (1..).zip(rounds) {
        assert_eq!((&round["round"], &round["version"]), (&number.into(), &number.into()));
        assert_eq!((&round["contributors"], &round["dense_bytes"]), (&2.into(), &320.into()));
        assert_eq!(round["ap50"], f64::from(number) / 10.0);
        for field in ["model_digest", "uplink_bytes", "downlink_bytes", "seconds", "ap"] {
            assert!(!round[field].is_null(), "{field}");
        }
        for field in ["ap50_global", "ap50_personal", "ap50_worst"] {
            assert!(round.get(field).is_some(), "{field}");
        }
        assert!(round["wire_uplink_bytes"].as_u64() > round["uplink_bytes"].as_u64());
    }
    assert_eq!(read("metrics.jsonl").lines().count(), 2);
    assert!(read("MODEL_CARD.md").contains("Finds a in photographs"));
    assert!(folder.path().join("final.safetensors").exists());
    let events: Vec<Value> = said.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(events, ["started", "round", "round", "end"]);
}

/// The same bytes again get the same receipt; other bytes are refused, and so is an update of somebody who was not asked.
#[tokio::test]
async fn an_update_counts_once_whatever_is_sent() {
    let store = MemoryStore::default();
    let host = Host::start(config(|_| {}), &store);
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);
    let accepted = Receipt::Accepted { round: plan.round };
    assert_eq!(one.upload(&header, &payload).await.unwrap(), accepted);
    assert_eq!(one.upload(&header, &payload).await.unwrap(), accepted);
    let (other_header, other_payload) = update(run, &plan, 0.75);
    let refused = one.upload(&other_header, &other_payload).await.unwrap();
    assert!(matches!(refused, Receipt::Refused(Refusal::Duplicate { .. })), "{refused:?}");
    let refused = host.client("stranger").await.upload(&header, &payload).await.unwrap();
    assert_eq!(refused, Receipt::Refused(Refusal::NotAsked { round: plan.round }));
    let accepted = |entry: &Entry| matches!(entry, Entry::Record(coordinator_core::Record::Accepted { .. }));
    assert_eq!(store.entries().unwrap().map(Result::unwrap).filter(accepted).count(), 1);
}

#[tokio::test]
async fn bytes_that_break_a_rule_are_refused_with_the_rule() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);

    let mut spoiled = payload.clone();
    spoiled[3] ^= 1;
    let refused = one.upload(&header, &spoiled).await.unwrap();
    assert!(
        matches!(&refused, Receipt::Refused(Refusal::Malformed { rule }) if rule.contains("digest")),
        "{refused:?}"
    );
    let status = one.upload(&header, &payload[..10]).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(
        status.message(),
        format!("broken transfer: the data ended after 10 of {} bytes", payload.len())
    );
    let status = one.upload(&header, &[&payload[..], b"more"].concat()).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    let mut long = header.clone();
    long.length = 1 << 20;
    let refused = one.upload(&long, &vec![0; 1 << 20]).await.unwrap();
    assert!(
        matches!(&refused, Receipt::Refused(Refusal::Malformed { rule }) if rule.contains("1048576 bytes")),
        "{refused:?}"
    );
    assert_eq!(one.upload(&header, &payload).await.unwrap(), Receipt::Accepted { round: plan.round });
}

/// Killed (not stopped) with one of two updates accepted: the round goes on with it, and the run ends as if nothing had been.
#[tokio::test]
async fn a_killed_coordinator_goes_on_with_the_open_round() {
    let store = MemoryStore::default();
    let digests = |store: &MemoryStore| -> Vec<_> {
        store.reports().unwrap().into_values().map(|report| report.model_digest).collect()
    };
    let host = Host::start(config(|_| {}), &store);
    let (mut one, plan, run, _sessions) = host.first_round().await;
    let (header, payload) = update(run, &plan, 0.5);
    assert!(matches!(one.upload(&header, &payload).await.unwrap(), Receipt::Accepted { .. }));
    host.running.abort();

    let host = Host::start(config(|_| {}), &store);
    let (mut one, two) = tokio::join!(host.client("one"), host.client("two"));
    // The receipt may have been lost on the way.
    assert!(matches!(one.upload(&header, &payload).await.unwrap(), Receipt::Accepted { .. }));
    let (one, two) = tokio::join!(obey(one, 0.5), obey(two, 0.25));
    // Who has contributed already is not asked again in that round.
    assert_eq!((one.unwrap()["train"], two.unwrap()["train"]), (1, 2));
    assert!(host.end().await.unwrap().complete);

    let undisturbed = MemoryStore::default();
    let host = Host::start(config(|_| {}), &undisturbed);
    let (one, two) = tokio::join!(host.client("one"), host.client("two"));
    let (one, two) = tokio::join!(obey(one, 0.5), obey(two, 0.25));
    assert!(one.is_ok() && two.is_ok());
    host.end().await.unwrap();
    assert_eq!(digests(&store), digests(&undisturbed));
}

#[tokio::test]
async fn stopping_says_what_became_of_the_round() {
    let mut host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let mut talk = one.join().await.unwrap();
    talk.welcome().await;
    host.stop();
    let status = loop {
        match talk.hear().await {
            Ok(Some(_)) => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the coordinator is stopping"));
    let end = host.end().await.unwrap();
    assert_eq!((end.complete, end.stopped), (false, true));
    assert_eq!(end.reason, "stopped while no round was open");
}

#[tokio::test]
async fn other_protocols_are_refused_naming_both() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let name = protocol::id::ClientId::new("future").unwrap();
    let stamp = Stamp::insecure(&name).with_protocol(99);
    let mut peer = peer::Peer { federation: federation_client(channel(host.open()).await, stamp) };
    let status = peer.join().await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let expected =
        "the coordinator speaks protocol 2, this client protocol 99: install the same Fovea version on both";
    assert_eq!(status.message(), expected);
    let nameless = Stamp::secure();
    let mut peer = peer::Peer { federation: federation_client(channel(host.open()).await, nameless) };
    assert_eq!(peer.join().await.map(drop).unwrap_err().code(), Code::Unauthenticated);
}

/// A device that comes back on a new connection before the old one is known to be dead.
#[tokio::test]
async fn a_second_session_ends_the_first() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let (mut before, mut after) = tokio::join!(host.client("one"), host.client("one"));
    let mut old = before.join().await.unwrap();
    old.welcome().await;
    let mut new = after.join().await.unwrap();
    new.welcome().await;
    let status = old.hear().await.unwrap_err();
    assert_eq!(status.message(), "another session of this client has taken over");
    // The end of the old one is not taken for the end of the new one: with a second client the round opens for both.
    drop((old, before));
    let mut two = host.client("two").await;
    let mut other = two.join().await.unwrap();
    tokio::join!(new.plan(), other.plan());
}

#[tokio::test]
async fn a_session_begins_with_one_hello() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let mut talk = one.session().await.unwrap();
    talk.say(ToCoordinator::Declined { round: protocol::id::Round(1), reason: String::new() }).await;
    let status = talk.hear().await.unwrap_err();
    assert_eq!(status.message(), "expected hello, found another message of a session");
    let mut talk = one.join().await.unwrap();
    talk.welcome().await;
    talk.say(ToCoordinator::Hello(hello())).await;
    let status = talk.hear().await.unwrap_err();
    assert_eq!(status.message(), "expected an answer, found a second hello");
}

/// A device that connects and says nothing does not hold a session for ever.
#[tokio::test(start_paused = true)]
async fn a_silent_session_is_ended() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let mut talk = one.session().await.unwrap();
    let status = talk.hear().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "too slow: hello within 30 s"));
}

#[tokio::test]
async fn a_client_without_a_class_of_the_run_is_told_why() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let mut talk = one.session().await.unwrap();
    let mut other = hello();
    other.classes = vec!["zebra".to_owned()];
    talk.say(ToCoordinator::Hello(other)).await;
    let refused = talk.hear().await.unwrap();
    assert!(
        matches!(&refused, Some(ToClient::Refused { reason, .. }) if reason.contains("zebra")),
        "{refused:?}"
    );
    assert_eq!(talk.hear().await.unwrap(), None);
}

#[tokio::test]
async fn only_what_is_served_can_be_fetched() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let run = config(|_| {}).run();
    let status = one.download(run, 7).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "version 7 is not available; the newest is none")
    );
    let status = one.download(protocol::id::RunId(1), 7).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn oversized_messages_are_refused_before_they_are_parsed() {
    let host = Host::start(config(|_| {}), &MemoryStore::default());
    let mut one = host.client("one").await;
    let mut talk = one.join().await.unwrap();
    talk.welcome().await;
    let reason = "x".repeat(protocol::limits::CONTROL_BYTES_MAX + 1);
    let declined = wire::proto::Declined { round: 1, reason };
    let kind = Some(wire::proto::to_coordinator::Kind::Declined(declined));
    talk.say.send(wire::proto::ToCoordinator { kind }).await.unwrap();
    let status = talk.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}
