//! Scripts in `testdata/`: what happens on the left margin, indented below it what the core asks for.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p client-core scripts` writes the answers anew; read the difference before keeping it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use protocol::id::{Round, RunId, Version};
use protocol::message::{Receipt, Refusal, ToClient, ToCoordinator};
use protocol::plan::Norm;
use protocol::time::Timestamp;
use protocol::train::TrainError;

use super::support::{Driver, digest, evaluated, evaluation, fetched, plan, prepared, trained, welcome};
use crate::effect::Effect;
use crate::event::{Event, FetchError};
use crate::state::{DEVICE, Device, OUTGOING, Outgoing};

#[test]
#[expect(clippy::disallowed_methods, reason = "the scripts are files, and rewritten on demand")]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let found = run(&expected);
        if std::env::var("UPDATE_SCRIPTS").is_ok() {
            std::fs::write(&file, &found).unwrap();
        } else {
            assert_eq!(found, expected, "{} differs; UPDATE_SCRIPTS=1 writes it anew", file.display());
        }
    }
}

/// Runs a script; the script again with the answers as they are now.
fn run(script: &str) -> String {
    let (mut driver, first) = Driver::new();
    let mut first = Some(first);
    let mut text = String::new();
    for line in script.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(text, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let before = glance(&driver);
        let effects = match line {
            "0 start" => first.take().unwrap_or_default(),
            _ => command(&mut driver, line),
        };
        for effect in effects {
            writeln!(text, "    {}", picture(&driver, &effect)).unwrap();
        }
        let after = glance(&driver);
        if after != before {
            writeln!(text, "    = {after}").unwrap();
        }
    }
    text
}

/// Performs one line: a time in seconds, a verb, its words `name=value`.
fn command(driver: &mut Driver, line: &str) -> Vec<Effect> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (time, verb, words) = (words[0], words[1], &words[2..]);
    driver.now = Timestamp::START + Duration::from_secs_f64(time.parse().unwrap());
    let text = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, default: u32| text(name).map_or(default, |text| text.parse().unwrap());
    let round = Round(number("round", 1));
    let version = number("version", 0);
    let values = |name: &str, default: &str| -> Vec<f32> {
        text(name).unwrap_or(default).split(',').map(|value| value.parse().unwrap()).collect()
    };
    let event = match verb {
        "connected" => Event::Connected,
        "disconnected" => Event::Disconnected { reason: "no route".into() },
        "welcome" => welcome(RunId(number("run", 5).into()), text("model") != Some("none")),
        "refused" => {
            let retry = text("retry").is_some();
            Event::Instruction(ToClient::Refused { reason: "no cats here".into(), retry })
        }
        "prepared" => Event::Prepared(Ok(prepared())),
        "unprepared" => Event::Prepared(Err(TrainError::Model("preset \"toy\" is not known".into()))),
        "train" => {
            let mut plan = plan(round.0, version);
            plan.personalise = text("personalise").unwrap_or("head").into();
            plan.uplink.codec = text("codec").unwrap_or("sparse").into();
            plan.time_limit = Duration::from_secs(number("limit", 60).into());
            Event::Instruction(ToClient::Train(plan))
        }
        "evaluate" => {
            let mut plan = evaluation(round.0, version);
            plan.personalise = text("personalise").unwrap_or("head").into();
            if text("norm") == Some("frozen") {
                plan.norm = Norm::Frozen;
            }
            Event::Instruction(ToClient::Evaluate(plan))
        }
        "closed" => Event::Instruction(ToClient::Closed { round }),
        "finished" => {
            let (version, model_digest) = (Version(version), digest());
            Event::Instruction(ToClient::Finished { version, model_digest })
        }
        "fetched" => fetched(version),
        "unfetched" => Event::Fetched {
            version: Version(version),
            model: Err(FetchError::Broken("connection reset".into())),
        },
        "trained" => trained(values("shared", "8,-4,2,1,0"), values("personal", "7,7")),
        "untrained" => Event::Trained(Err(TrainError::Data("/photos/gate.jpg: truncated".into()))),
        "evaluated" => evaluated(),
        "unevaluated" => Event::Evaluated(Err(TrainError::Data("/photos/gate.jpg: truncated".into()))),
        "accepted" => Event::Uploaded(Ok(Receipt::Accepted { round })),
        "late" => Event::Uploaded(Ok(Receipt::Refused(Refusal::Late { round }))),
        "unanswered" => Event::Uploaded(Err("connection reset".into())),
        "tick" => Event::Tick,
        "stop" => Event::Stop,
        // The machine dies after so many of the effects of the next lines are performed.
        "dies" => {
            driver.life = Some(number("after", 0) as usize);
            return Vec::new();
        }
        "restarts" => return driver.restart(),
        "damage" => {
            let name = crate::state::NAMES.into_iter().find(|&name| text("state") == Some(name)).unwrap();
            driver.stored.get_mut(name).unwrap()[3] ^= 1;
            return Vec::new();
        }
        _ => panic!("{line}: no such verb"),
    };
    driver.deliver(event)
}

/// Where the client stands.
fn glance(driver: &Driver) -> String {
    let mut text = driver.client.phase().to_owned();
    if let Some((at, why)) = driver.client.deadline() {
        write!(text, "; wake at {:.3}: {why}", at.since_start().as_secs_f64()).unwrap();
    }
    text
}

fn picture(driver: &Driver, effect: &Effect) -> String {
    match effect {
        Effect::Connect => "connect".into(),
        Effect::Send(message) => format!("say {}", message_picture(message)),
        Effect::Prepare { spec, .. } => format!("prepare {} {:?}", spec.preset, spec.classes),
        Effect::Fetch { version, held: Some(_), .. } => format!("fetch version {version} from what is held"),
        Effect::Fetch { version, held: None, .. } => format!("fetch version {version}"),
        Effect::Train(job) => {
            let (personal, statistics) = (&job.model.personal, &job.model.statistics);
            format!("train in round {}, personal {personal:?}, statistics {statistics:?}", job.round)
        }
        Effect::Evaluate(job) => {
            let (personal, statistics) = (&job.model.personal, &job.model.statistics);
            format!("evaluate version {}, personal {personal:?}, statistics {statistics:?}", job.version)
        }
        Effect::Upload { header, payload } => {
            let entries = codec::decode_update(&super::support::shared_layout(), 5, payload).unwrap();
            format!("upload for round {} from version {}: {entries:?}", header.round, header.version)
        }
        Effect::Persist { name: OUTGOING, .. } => match driver.outgoing() {
            Some(Outgoing::Settled(residual)) => format!("persist residual {:?}", residual.values()),
            Some(Outgoing::Unanswered { header, pending }) => {
                let after = pending.after().values();
                format!("persist update of round {}, residual {after:?}", header.round)
            }
            None => "persist outgoing".into(),
        },
        Effect::Persist { name: DEVICE, bytes } => {
            let Device { personal, statistics } = Device::decode(bytes).unwrap().1;
            format!("persist device: personal {personal:?}, statistics {statistics:?}")
        }
        Effect::Persist { name, .. } => format!("persist {name}"),
        Effect::Notice(text) => format!("notice: {text}"),
        Effect::Halt { reason, complete } => format!("halt, complete {complete}: {reason}"),
    }
}

fn message_picture(message: &ToCoordinator) -> String {
    match message {
        ToCoordinator::Hello(hello) => match hello.run {
            Some(run) => format!("hello, classes {:?}, was in run {run}", hello.classes),
            None => format!("hello, classes {:?}", hello.classes),
        },
        ToCoordinator::Evaluated { version, evaluation } => format!(
            "version {version} evaluated on {} images, {} bytes of statistics of {}",
            evaluation.images,
            evaluation.statistics.len(),
            evaluation.statistics_images
        ),
        ToCoordinator::Declined { round, reason } => format!("round {round} declined: {reason}"),
    }
}
