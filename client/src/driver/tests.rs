//! The driver against a scripted coordinator: what it says, when, and what is on disk by then. The clock is paused, so waits
//! take no time.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use client_core::state::{DEVICE, Device, FinalModel, MODEL, OUTGOING};
use params::Share;
use protocol::id::{ClientId, Round};
use protocol::message::ToCoordinator;
use protocol::plan::{EvaluationPlan, Norm};
use tonic::Status;

use super::*;
use crate::folder::Member;

mod fake;

use fake::{Fake, RUN, Toy, digest, plan, welcome};

/// A device with its folder, and what it tells.
struct Camera {
    folder: tempfile::TempDir,
    told: Mutex<Vec<Happening>>,
}

impl Camera {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = ClientId::new("camera").unwrap();
        let member = Member { client, coordinator: "h:1".parse().unwrap(), secure: false };
        Folder::prepare(folder.path()).unwrap().settle(&member, None).unwrap();
        Self { folder, told: Mutex::default() }
    }

    async fn run(
        &self,
        trainer: Toy,
        fake: &Connector,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, RunError> {
        let (folder, member) = Folder::open(self.folder.path()).unwrap();
        let config = Config::new(member.client, trainer.summary(), 1);
        let report = |happening| self.told.lock().unwrap().push(happening);
        run(Arc::new(folder), config, Box::new(trainer), fake.clone(), stop, report).await
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn evaluate() -> ToClient {
    ToClient::Evaluate(EvaluationPlan {
        round: Round(1),
        version: Version(0),
        model_digest: digest(),
        share: Share::ALL,
        norm: Norm::Local,
        personalise: "head".into(),
    })
}

fn finished() -> ToClient {
    ToClient::Finished { version: Version(0), model_digest: digest() }
}

#[tokio::test(start_paused = true)]
async fn a_run_from_hello_to_the_final_version() {
    let mut fake = Fake::start();
    let device = Camera::new();
    let connector = fake.connector.clone();
    let coordinator = async {
        let mut visit = fake.visits.recv().await.unwrap();
        let Some(ToCoordinator::Hello(hello)) = visit.hear().await else { panic!("no hello") };
        assert_eq!((hello.examples, hello.held_out, hello.run), (5, 2, None));
        visit.say(welcome()).await;
        visit.say(plan(1)).await;
        let upload = fake.uploads.recv().await.unwrap();
        assert_eq!(
            (upload.header.run, upload.header.round, upload.header.version),
            (RUN, Round(1), Version(0))
        );
        // The update is durable before it is sent.
        assert!(device.path().join("state").join(OUTGOING).exists());
        upload.answer.send(Ok(Receipt::Accepted { round: Round(1) })).unwrap();
        visit.say(evaluate()).await;
        let Some(ToCoordinator::Evaluated { evaluation, .. }) = visit.hear().await else {
            panic!("no scores")
        };
        assert_eq!((evaluation.global.ap50, evaluation.personal.ap50), (0.5, 1.0));
        visit.say(finished()).await;
        assert!(visit.hear().await.is_none(), "the client says goodbye");
    };
    let (ended, ()) = tokio::join!(device.run(Toy::default(), &connector, pending()), coordinator);
    assert_eq!(
        ended.unwrap(),
        Ended { reason: "the run has ended with version 0".to_owned(), complete: true }
    );
    let told = device.told();
    let expected = [
        "connected to pipe",
        "run 0000000000000007: toy, classes cat, dog",
        "fetched version 0, ",
        "round 1: training",
        "round 1: 5 images, 5 steps, loss 0.2500, ",
        "round 1: sent ",
        "version 0: AP50 0.500, personal 1.000, on 2 held-out images",
        "the run has ended with version 0",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told:?} {expected:?}");
    }
    // Everything that prediction needs stays on the device.
    let (folder, _) = Folder::open(device.path()).unwrap();
    let last = FinalModel::decode(&folder.load_one(MODEL).unwrap().unwrap()).unwrap();
    assert_eq!((last.about.run, last.about.version, last.shared.len()), (RUN, Version(0), 40));
    let (_, own) = Device::decode(&folder.load_one(DEVICE).unwrap().unwrap()).unwrap();
    assert_eq!((own.personal[0], own.statistics), (9.0, vec![0.1, 0.1, 2.0, 2.0]));
}

/// The connection breaks during an upload, the coordinator is away for a while, and the process is killed: the same bytes are
/// sent again.
#[tokio::test(start_paused = true)]
async fn an_update_outlives_connections_and_processes() {
    let mut fake = Fake::start();
    let device = Camera::new();
    let connector = fake.connector.clone();
    let first = {
        let mut killed = std::pin::pin!(device.run(Toy::default(), &connector, pending()));
        let coordinator = async {
            let mut visit = fake.visits.recv().await.unwrap();
            visit.hear().await;
            visit.say(welcome()).await;
            visit.say(plan(1)).await;
            let upload = fake.uploads.recv().await.unwrap();
            upload.answer.send(Err(Status::unavailable("restarting"))).unwrap();
            fake.away.store(true, Ordering::Relaxed);
            visit.fail(Status::unavailable("the coordinator is stopping")).await;
            drop(visit);
            drop(fake.missed.acquire_many(3).await.unwrap());
            fake.away.store(false, Ordering::Relaxed);
            let mut visit = fake.visits.recv().await.unwrap();
            let Some(ToCoordinator::Hello(hello)) = visit.hear().await else { panic!("no hello") };
            assert_eq!(hello.run, Some(RUN));
            visit.say(welcome()).await;
            let again = fake.uploads.recv().await.unwrap();
            assert_eq!((&again.header, &again.payload), (&upload.header, &upload.payload));
            upload.payload
        };
        tokio::select! {
            ended = &mut killed => panic!("{ended:?}"),
            payload = coordinator => payload,
        }
    };
    let lost = device.told().into_iter().filter(|line| line.starts_with("no connection")).count();
    assert_eq!(lost, 1, "said once: {:?}", device.told());

    let coordinator = async {
        let mut visit = fake.visits.recv().await.unwrap();
        visit.hear().await;
        visit.say(welcome()).await;
        let upload = fake.uploads.recv().await.unwrap();
        assert_eq!(upload.payload, first);
        upload.answer.send(Ok(Receipt::Accepted { round: Round(1) })).unwrap();
        visit.say(finished()).await;
        visit.hear().await;
    };
    let (ended, ()) = tokio::join!(device.run(Toy::default(), &connector, pending()), coordinator);
    assert!(ended.unwrap().complete);
}

#[tokio::test(start_paused = true)]
async fn stopping_says_what_is_left_undone() {
    let mut fake = Fake::start();
    let device = Camera::new();
    let connector = fake.connector.clone();
    let (release, held) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let coordinator = async {
        let mut visit = fake.visits.recv().await.unwrap();
        visit.hear().await;
        visit.say(welcome()).await;
        visit.say(plan(4)).await;
        while !device.told().iter().any(|line| line == "round 4: training") {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        visit.hear().await;
    };
    let toy = Toy { held: Some(held), ..Toy::default() };
    let stopped = async { stopped.await.unwrap() };
    let (ended, ()) = tokio::join!(device.run(toy, &connector, stopped), coordinator);
    drop(release);
    let ended = ended.unwrap();
    assert!(!ended.complete);
    assert_eq!(ended.reason, "stopped: training of round 4 is abandoned");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_take_part_is_told_why_and_ends() {
    let refusal = "this client has no class of the run";
    for by_status in [false, true] {
        let mut fake = Fake::start();
        let device = Camera::new();
        let connector = fake.connector.clone();
        let coordinator = async {
            let mut visit = fake.visits.recv().await.unwrap();
            visit.hear().await;
            if by_status {
                visit.fail(Status::failed_precondition(refusal)).await;
            } else {
                visit.say(ToClient::Refused { reason: refusal.to_owned(), retry: false }).await;
            }
            visit.hear().await;
        };
        let (ended, ()) = tokio::join!(device.run(Toy::default(), &connector, pending()), coordinator);
        let reason = format!("refused by the coordinator: {refusal}");
        assert_eq!(ended.unwrap(), Ended { reason, complete: false });
    }
}

#[tokio::test(start_paused = true)]
async fn a_trainer_that_panics_ends_the_client_with_a_line() {
    let mut fake = Fake::start();
    let device = Camera::new();
    let connector = fake.connector.clone();
    let coordinator = async {
        let mut visit = fake.visits.recv().await.unwrap();
        visit.hear().await;
        visit.say(welcome()).await;
        visit.say(plan(1)).await;
        visit.hear().await;
    };
    let toy = Toy { panics: true, ..Toy::default() };
    let (ended, ()) = tokio::join!(device.run(toy, &connector, pending()), coordinator);
    let line = ended.unwrap_err().to_string();
    assert!(line.starts_with("training broke down: the kernel fell over"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn training_that_fails_is_told_once_and_declined() {
    let mut fake = Fake::start();
    let device = Camera::new();
    let connector = fake.connector.clone();
    let coordinator = async {
        let mut visit = fake.visits.recv().await.unwrap();
        visit.hear().await;
        visit.say(welcome()).await;
        visit.say(plan(1)).await;
        let Some(ToCoordinator::Declined { round, reason }) = visit.hear().await else {
            panic!("not declined")
        };
        assert_eq!(round, Round(1));
        assert!(!reason.contains("the disk is gone"), "the owner's business: {reason}");
        visit.say(finished()).await;
        visit.hear().await;
    };
    let toy = Toy { fails: true, ..Toy::default() };
    let (ended, ()) = tokio::join!(device.run(toy, &connector, pending()), coordinator);
    assert!(ended.unwrap().complete);
    let told = device.told().into_iter().filter(|line| line.contains("the disk is gone"));
    assert_eq!(told.collect::<Vec<_>>().len(), 1, "{:?}", device.told());
}
