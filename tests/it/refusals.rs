//! Peers that are strangers, out of date, broken or malicious, over real connections: each is refused with a line that says
//! what is wrong, and the run goes on as if it had not been there.

use std::time::Duration;

use client::connection::ConnectError;
use client::enrol::enrol;
use client::folder::Credentials;
use client::{Connector, Folder, RunError};
use codec::Settings as CodecSettings;
use coordinator::create_token;
use fovea_tests::{Peer, Site, device, hello, settings};
use identity::{Fingerprint, Secret, Token};
use params::{Digest, Scope};
use protocol::evaluation::Evaluation;
use protocol::id::{Round, RunId, Version};
use protocol::limits::UPDATE_BYTES_MAX;
use protocol::message::{Hello, Receipt, ToClient, ToCoordinator, UpdateHeader};
use simulations::toy;
use wire::grpc::{Stamp, federation_client};

const MINUTE: Duration = Duration::from_secs(60);

/// Two clients finish a run of one round, whoever else is about.
async fn finish(site: &Site, coordinator: fovea_tests::Coordinator) {
    let mut clients = Vec::new();
    for (index, name) in ["camera-0", "camera-1"].into_iter().enumerate() {
        site.join(name).await;
        clients.push(site.client(name, device(index as u32), |_| ()));
    }
    assert!(coordinator.end().await.unwrap().complete);
    for client in clients {
        assert!(client.end().await.unwrap().complete);
    }
    assert_eq!(site.reports()[0].contributors, 2);
}

fn credentials(site: &Site, name: &str) -> Credentials {
    Folder::look(&site.folder(name)).unwrap().0.credentials().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_get_in() {
    let site = Site::secure(settings(2, 1)).await;
    let coordinator = site.coordinator();
    site.join("member").await;
    let elsewhere = Site::secure(settings(2, 1)).await;
    let other = elsewhere.coordinator();
    elsewhere.join("intruder").await;
    let address = site.network.address();

    // Of another coordinator, and honest about it: the device notices that this is not its own.
    let foreign = credentials(&elsewhere, "intruder");
    let refused = Connector::secure(&address, &foreign).unwrap().channel().await.unwrap_err();
    assert!(matches!(refused, ConnectError::Foreign { .. }), "{refused}");
    // Knows whom it talks to, but its certificate is signed by somebody else.
    let authority = credentials(&site, "member").authority;
    let forged = Credentials { authority, ..foreign };
    let connector = Connector::secure(&address, &forged).unwrap();
    let client = elsewhere.client_over("intruder", connector, device(0), |_| ());
    let refused = client.end().await.unwrap_err();
    assert!(matches!(refused, RunError::Connect(ConnectError::Rejected { .. })), "{refused}");
    // Has none.
    let ours = Fingerprint::of(&forged.authority);
    let mut nobody = Peer::new(Connector::enrolling(&address, ours).unwrap().federation().await.unwrap());
    let status = nobody.greet(hello()).await.unwrap_err();
    assert_eq!(status.message(), "no client certificate: join first (client join ADDRESS --token ...)");

    other.kill(|| ()).await;
    finish(&site, coordinator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_entitle_to_nothing() {
    let site = Site::secure(settings(2, 1)).await;
    let coordinator = site.coordinator();
    let used = create_token(&site.state(), MINUTE, 1).unwrap();
    let address = site.network.address();
    enrol(&site.folder("first"), &address, &used, None).await.unwrap();
    let expired = create_token(&site.state(), Duration::ZERO, 1).unwrap();
    let wrong =
        Token { secret: Secret::generate().unwrap(), ..create_token(&site.state(), MINUTE, 1).unwrap() };
    let misled =
        Token { authority: Fingerprint::of(b"somebody"), ..create_token(&site.state(), MINUTE, 1).unwrap() };
    for (token, expected) in [
        (&used, "the token has been used"),
        (&expired, "the token has expired"),
        (&wrong, "wrong token"),
        (&misled, "is not the one that made this token"),
    ] {
        // The same folder every time: a refusal leaves it as it was.
        let refused = enrol(&site.folder("late"), &address, token, None).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains('\n'), "one line: {refused}");
    }
    let valid = create_token(&site.state(), MINUTE, 1).unwrap();
    enrol(&site.folder("late"), &address, &valid, None).await.unwrap();
    finish(&site, coordinator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols_and_greetings_are_refused() {
    let site = Site::secure(settings(2, 1)).await;
    let coordinator = site.coordinator();
    site.join("future").await;
    let connector = site.connector("future");
    let protocol = 3;
    let channel = connector.channel().await.unwrap();
    let mut peer = Peer::new(federation_client(channel, Stamp::secure().with_protocol(protocol)));
    let status = peer.greet(hello()).await.unwrap_err();
    assert!(
        status.message().starts_with("the coordinator speaks protocol 2, this client protocol 3: "),
        "{status}"
    );

    for (greeting, expected) in [
        (Hello { protocol, ..hello() }, "this client speaks protocol 3, the coordinator 2: "),
        (Hello { classes: vec!["x".repeat(200)], ..hello() }, "malformed message: "),
        (Hello { classes: vec!["cat".to_owned(); 2], ..hello() }, "malformed message: "),
    ] {
        let mut peer = Peer::new(connector.federation().await.unwrap());
        let mut talk = peer.greet(greeting).await.unwrap();
        let refused = match talk.hear().await {
            Ok(Some(ToClient::Refused { reason, retry: false })) => reason,
            Ok(other) => panic!("expected a refusal, heard {other:?}"),
            Err(status) => status.message().to_owned(),
        };
        assert!(refused.starts_with(expected), "{refused}");
    }
    finish(&site, coordinator).await;
}

/// A valid update, and how to spoil it.
struct Update {
    header: UpdateHeader,
    payload: Vec<u8>,
}

impl Update {
    /// Puts another payload in; the header speaks the truth about it.
    fn carry(&mut self, payload: Vec<u8>) {
        self.header.length = payload.len() as u32;
        self.header.payload_digest = Digest::of(&[&payload]);
        self.payload = payload;
    }
}

/// A payload with its checksum, as the codec ends all of them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// What a spoiled update is answered with: in a receipt, or, when it is no update at all, in a status.
struct Case {
    spoil: fn(&mut Update),
    expected: &'static str,
}

const CASES: &[Case] = &[
    Case { spoil: |update| update.header.run = RunId(1), expected: "update belongs to run 0000000000000001" },
    Case { spoil: |update| update.header.round = Round(2), expected: "this client was not asked in round 2" },
    Case { spoil: |update| update.header.version = Version(7), expected: "update starts from version 7" },
    Case {
        spoil: |update| update.header.layout = Digest::of(&[b"other"]),
        expected: "update has tensor layout",
    },
    Case { spoil: |update| update.header.layout = full_layout(), expected: "update has tensor layout" },
    Case { spoil: |update| update.carry(sealed(dense(64))), expected: "update is malformed: " },
    Case {
        spoil: |update| update.header.payload_digest = Digest::of(&[b"other"]),
        expected: "update is malformed: ",
    },
    Case { spoil: |update| update.header.length += 1, expected: "broken transfer: the data ended after" },
    Case { spoil: |update| update.header.length -= 1, expected: "broken transfer: " },
    Case { spoil: |update| update.carry(vec![0xa5; 100]), expected: "update is malformed: " },
    Case { spoil: |update| update.carry(Vec::new()), expected: "update is malformed: " },
    Case { spoil: |update| update.carry(sealed(vec![9, 56])), expected: "update is malformed: " },
    Case {
        spoil: |update| update.carry(sealed(dense(56)[..100].to_vec())),
        expected: "update is malformed: ",
    },
    Case { spoil: |update| update.carry(with_value(f32::NAN)), expected: "update is malformed: " },
    Case { spoil: |update| update.carry(with_value(f32::INFINITY)), expected: "update is malformed: " },
    Case { spoil: |update| update.carry(vec![0; 1 << 20]), expected: "update is malformed: 1048576 bytes" },
    Case {
        spoil: |update| update.header.length = UPDATE_BYTES_MAX as u32 + 1,
        expected: "malformed message: ",
    },
    Case { spoil: |update| update.header.examples = 0, expected: "update is malformed: no examples" },
];

/// A dense payload of so many values, without its checksum. The toy shares 56 values and keeps 8 for itself.
fn dense(values: u8) -> Vec<u8> {
    let mut bytes = vec![0, values];
    bytes.extend((0..values).flat_map(|_| 0.5_f32.to_le_bytes()));
    bytes
}

fn with_value(value: f32) -> Vec<u8> {
    let mut bytes = dense(56);
    bytes[30..34].copy_from_slice(&value.to_le_bytes());
    sealed(bytes)
}

/// Of all tensors, the personal ones included.
fn full_layout() -> Digest {
    let spec = protocol::plan::ModelSpec { preset: toy::PRESET.to_owned(), classes: hello().classes };
    toy::layout(&spec).unwrap().digest()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_that_break_a_rule_do_not_count() {
    let mut settings = settings(2, 1);
    settings.uplink.codec = "dense".to_owned();
    let site = Site::secure(settings).await;
    let coordinator = site.coordinator();
    for name in ["mallory", "camera", "stranger"] {
        site.join(name).await;
    }
    let camera = site.client("camera", device(0), |_| ());
    let mut mallory = Peer::new(site.connector("mallory").federation().await.unwrap());
    let mut talk = mallory.greet(hello()).await.unwrap();
    let (run, spec, plan) = talk.plan().await;

    let layout = toy::layout(&spec).unwrap().of_scope(Scope::Shared);
    let codec = codec::build(&plan.uplink.codec, &CodecSettings::default()).unwrap();
    let payload = codec.encode(&layout, &vec![0.5; layout.len()]).unwrap().payload;
    let header = UpdateHeader {
        run,
        round: plan.round,
        version: plan.version,
        layout: layout.digest(),
        examples: 10,
        steps: 5,
        loss_milli: 700,
        length: payload.len() as u32,
        payload_digest: Digest::of(&[&payload]),
    };
    assert_eq!(payload, sealed(dense(56)), "the table knows what a payload looks like");
    let mut receipts = 0;
    for (number, case) in CASES.iter().enumerate() {
        let mut update = Update { header: header.clone(), payload: payload.clone() };
        (case.spoil)(&mut update);
        let said = match mallory.upload(&update.header, &update.payload).await {
            Ok(Receipt::Refused(refusal)) => {
                receipts += 1;
                refusal.to_string()
            }
            Ok(accepted) => panic!("case {number}, {:?}: {accepted:?}", case.expected),
            Err(status) => status.message().to_owned(),
        };
        assert!(said.starts_with(case.expected), "case {number}: {said:?} is not {:?}", case.expected);
    }
    let mut stranger = Peer::new(site.connector("stranger").federation().await.unwrap());
    let refused = stranger.upload(&header, &payload).await.unwrap();
    assert!(
        matches!(&refused, Receipt::Refused(refusal) if refusal.to_string().contains("not asked")),
        "{refused:?}"
    );
    receipts += 1;

    // After all that the right bytes count, once.
    let accepted = Receipt::Accepted { round: plan.round };
    assert_eq!(mallory.upload(&header, &payload).await.unwrap(), accepted);
    loop {
        match talk.hear().await.unwrap() {
            Some(ToClient::Evaluate(plan)) => {
                let (version, evaluation) = (plan.version, Evaluation::default());
                talk.say(ToCoordinator::Evaluated { version, evaluation }).await;
            }
            Some(ToClient::Finished { .. }) | None => break,
            Some(_) => {}
        }
    }
    talk.leave().await;
    drop((mallory, stranger));
    assert!(coordinator.end().await.unwrap().complete);
    assert!(camera.end().await.unwrap().complete);
    let reports = site.reports();
    assert_eq!((reports.len(), reports[0].contributors, reports[0].asked), (1, 2, 2));
    assert_eq!(reports[0].refused.values().sum::<u32>(), receipts, "{:?}", reports[0].refused);
}
