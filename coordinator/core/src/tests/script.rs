//! Scripts in `testdata/`: what happens on the left margin, indented below it what the core asks for.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p coordinator-core scripts` writes the answers anew; read the difference before keeping it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use codec::statistics::{StatisticsLayout, encode_report};
use params::{Scope, Share};
use protocol::evaluation::{CentralScore, Evaluation, ModelScore};
use protocol::id::{ClientId, Round, Version};
use protocol::message::{Receipt, ToClient};
use protocol::time::Timestamp;

use super::support::{Driver, VALUES, client, header, hello, initial, layout, settings, update};
use crate::config::Settings;
use crate::{Effect, Event, Record, RoundReport};

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
    let mut driver = None;
    let mut text = String::new();
    for line in script.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(text, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(changes) = line.strip_prefix("settings ") {
            driver = Some(Driver::new(changed(changes)));
            continue;
        }
        let driver = driver.as_mut().expect("a script begins with its settings");
        let before = glance(driver);
        // Its name changes with every default of the settings.
        let run = driver.core.config().run().to_string();
        for effect in command(driver, line) {
            writeln!(text, "    {}", picture(&effect).replace(&run, "RUN")).unwrap();
        }
        let after = glance(driver);
        if after != before {
            writeln!(text, "    = {after}").unwrap();
        }
    }
    text
}

/// The tests' settings with these changes, given as TOML.
fn changed(changes: &str) -> Settings {
    let toml::Value::Table(mut all) = toml::Value::try_from(settings(|_| {})).unwrap() else {
        unreachable!()
    };
    for change in changes.split("; ") {
        all.extend(change.parse::<toml::Table>().unwrap());
    }
    all.try_into().unwrap()
}

/// Performs one line: a time in seconds, a verb, its words.
fn command(driver: &mut Driver, line: &str) -> Vec<Effect> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (time, verb, words) = (words[0], words[1], &words[2..]);
    driver.now = Timestamp::START + Duration::from_secs_f64(time.parse().unwrap());
    let word = |index: usize| words.get(index).copied().unwrap_or_else(|| panic!("{line}: too few words"));
    // Words after the first may be `name=value`.
    let named = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, default: f64| named(name).map_or(default, |text| text.parse().unwrap());
    let (version, round) = {
        let status = driver.core.status();
        (status.version.unwrap_or(Version(0)), status.round)
    };
    let version = Version(number("version", version.0.into()) as u32);
    let round = number("round", round.0.into()) as u32;
    let event = match verb {
        "connect" => {
            let mut hello = hello(&word(1).split(',').filter(|class| *class != "-").collect::<Vec<_>>());
            hello.examples = number("examples", 100.0) as u32;
            hello.protocol = number("protocol", hello.protocol.into()) as u32;
            Event::Connected { client: client(word(0)), hello }
        }
        "disconnect" => Event::Disconnected { client: client(word(0)) },
        "initialised" => Event::Initialised { initial: initial() },
        "fetched" => Event::Fetched { bytes: word(0).parse().unwrap() },
        "upload" => return upload(driver, &client(word(0)), round, version, number, named("run")),
        "decline" => {
            Event::Declined { client: client(word(0)), round: Round(round), reason: "out of memory".into() }
        }
        "evaluated" => {
            let score = |ap50| ModelScore { ap50, ap: ap50 / 2.0, histogram: Vec::new() };
            let (global, personal) = (score(number("global", 0.5)), score(number("personal", 0.5)));
            let images = number("images", 10.0) as u32;
            let mut evaluation =
                Evaluation { images, boxes: 3 * images, global, personal, ..Evaluation::default() };
            if let Some(mean) = named("mean") {
                let (part, of) = named("share").and_then(|share| share.split_once('/')).unwrap_or(("0", "1"));
                let share = Share::new(part.parse().unwrap(), of.parse().unwrap());
                evaluation.statistics = statistics(driver, mean.parse().unwrap(), share);
                evaluation.statistics_images = 10;
            }
            Event::Evaluated { client: client(word(0)), version, evaluation }
        }
        "scored" => {
            let ap50 = number("ap50", 0.5);
            let score = CentralScore { ap50, ap: ap50 / 2.0, ap50_per_class: vec![Some(ap50), None] };
            Event::Scored { version, score: Ok(score) }
        }
        "unscored" => Event::Scored { version, score: Err("the folder is gone".into()) },
        "tick" => Event::Tick,
        "stop" => Event::Stop,
        "restart" => return driver.restart().0,
        // The machine dies after so many of the effects of the next line are performed.
        "dies" => {
            driver.life = Some(word(1).parse().unwrap());
            return Vec::new();
        }
        "lives" => {
            driver.life = None;
            return driver.restart().0;
        }
        _ => panic!("{line}: no such verb"),
    };
    driver.deliver(event).0
}

/// What a device with this mean and a variance of 1 says relative to the published statistics.
fn statistics(driver: &Driver, mean: f32, share: Share) -> Vec<u8> {
    let layout = StatisticsLayout::new(&layout().of_scope(Scope::Statistic)).unwrap();
    let published = &driver.core.published().unwrap().statistics;
    encode_report(&layout, published, &[mean, mean, 1.0, 1.0], share, 1000).unwrap()
}

fn upload(
    driver: &mut Driver,
    client: &ClientId,
    round: u32,
    version: Version,
    number: impl Fn(&str, f64) -> f64,
    run: Option<&str>,
) -> Vec<Effect> {
    let value = number("value", 0.5) as f32;
    let mut id = driver.core.config().run();
    if let Some(run) = run {
        id.0 = run.parse().unwrap();
    }
    let (mut head, mut payload) = update(id, round, version.0, &[value; VALUES]);
    if number("damaged", 0.0) > 0.0 {
        payload[7] ^= 1;
        head = header(id, round, version.0, &payload);
    }
    head.examples = number("examples", 10.0) as u32;
    driver.upload(client, head, payload).0
}

/// Where the run stands.
fn glance(driver: &Driver) -> String {
    let status = driver.core.status();
    let mut text = format!("{}, round {}", status.phase, status.round);
    if let Some(version) = status.version {
        write!(text, ", version {version}").unwrap();
    }
    if status.awaited + status.answered > 0 {
        write!(text, ", {} answered, {} awaited", status.answered, status.awaited).unwrap();
    }
    if let Some((at, why)) = driver.core.deadline() {
        write!(text, "; wake at {}: {why}", at.since_start().as_secs_f64()).unwrap();
    }
    text
}

fn picture(effect: &Effect) -> String {
    match effect {
        Effect::Journal(record) => format!("journal {}", record_picture(record)),
        Effect::Initialise { spec, seed } => {
            format!("initialise {} {:?} with seed {seed}", spec.preset, spec.classes)
        }
        Effect::Publish(published, _) => {
            let statistics = &published.statistics;
            format!(
                "publish version {} {:?} statistics {statistics:?}",
                published.version,
                published.model.values()
            )
        }
        Effect::Send { client, instruction } => format!("to {client}: {}", instruction_picture(instruction)),
        Effect::Receipt { client, receipt: Receipt::Accepted { round }, .. } => {
            format!("receipt for {client}: accepted in round {round}")
        }
        Effect::Receipt { client, receipt: Receipt::Refused(refusal), .. } => {
            format!("receipt for {client}: refused, {refusal}")
        }
        Effect::Score { published, .. } => format!("score version {}", published.version),
        Effect::Report(report) => report_picture(report),
        Effect::Notice(text) => format!("notice: {text}"),
        Effect::Halt { reason, complete } => {
            format!("halt{}: {reason}", if *complete { ", complete" } else { "" })
        }
    }
}

fn record_picture(record: &Record) -> String {
    match record {
        Record::RunStarted { spec, .. } => format!("run started with classes {:?}", spec.classes),
        Record::RoundOpened { round, version, cohort, goal } => {
            let names: Vec<_> = cohort.iter().map(ClientId::as_str).collect();
            format!("round {round} opened from version {version}, asks {}, wants {goal}", names.join(" "))
        }
        Record::Accepted { round, client, .. } => format!("round {round} accepted {client}"),
        Record::RoundClosed { report } => {
            format!(
                "round {} closed, {} updates make version {}",
                report.round, report.contributors, report.version
            )
        }
        Record::RoundEvaluated { report, statistics } => {
            format!("round {} evaluated by {}, statistics {statistics:?}", report.round, report.evaluators)
        }
        Record::RoundAbandoned { round } => format!("round {round} abandoned"),
        Record::RoundReported { round } => format!("round {round} reported"),
        Record::Compacted { round, version, .. } => format!("rounds up to {round} made version {version}"),
    }
}

fn instruction_picture(instruction: &ToClient) -> String {
    match instruction {
        ToClient::Welcome { model: None, .. } => "welcome".into(),
        ToClient::Welcome { model: Some(spec), .. } => format!("welcome, classes {:?}", spec.classes),
        ToClient::Refused { reason, retry } => {
            format!("refused{}, {reason}", if *retry { " for now" } else { "" })
        }
        ToClient::Train(plan) => {
            format!(
                "train in round {} from version {} within {:?}",
                plan.round, plan.version, plan.time_limit
            )
        }
        ToClient::Evaluate(plan) => format!("evaluate version {}", plan.version),
        ToClient::Closed { round } => format!("round {round} is closed"),
        ToClient::Finished { version, .. } => format!("finished with version {version}"),
    }
}

/// The fields that are set.
fn report_picture(report: &RoundReport) -> String {
    let serde_json::Value::Object(fields) = serde_json::to_value(report).unwrap() else { unreachable!() };
    let empty = |value: &serde_json::Value| {
        let zero = value.as_f64() == Some(0.0) || *value == false;
        value.is_null() || zero || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let set = fields.iter().filter(|(name, value)| *name != "model_digest" && !empty(value));
    let set: Vec<_> = set.map(|(name, value)| format!("{name} {value}")).collect();
    format!("report: {}", set.join(", "))
}
