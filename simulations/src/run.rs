//! One scenario from its file to its report.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use client_core::{Client, Config};
use coordinator_core::{Coordinator, RoundReport};
use protocol::id::ClientId;
use protocol::randomness::{Purpose, stream};
use protocol::time::Timestamp;

use crate::device::Device;
use crate::host::Host;
use crate::learning::Learning;
use crate::report::RunReport;
use crate::scenario::{Scenario, Source};
use crate::workers::Workers;
use crate::world::World;

/// Runs the scenario in `file` and writes `report.json` and `report.html` into `out`; whether all rounds were run.
///
/// # Errors
/// A scenario that is refused, data that cannot be had, a folder that cannot be written.
pub fn run_file(file: &Path, out: &Path, seed: Option<u64>, workers: usize, json: bool) -> Result<bool> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let scenario = Scenario::parse(&text, seed).with_context(|| file.display().to_string())?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let report = simulate(&scenario, workers, Box::new(move |round| tell(round, json)))?;
    let write = |name: &str, text: String| {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let text = serde_json::to_string_pretty(&report)?;
    write("report.json", text.clone() + "\n")?;
    write("report.html", report.html())?;
    let last_line = if json {
        text
    } else {
        format!("{}; the report is in {}", report.reason, out.join("report.html").display())
    };
    say(&last_line);
    Ok(report.complete)
}

/// Runs a scenario; `on_report` hears of every round as it closes.
///
/// # Errors
/// Data that cannot be had.
pub fn simulate(
    scenario: &Scenario,
    workers: usize,
    on_report: Box<dyn FnMut(&RoundReport)>,
) -> Result<RunReport> {
    let Learning { trainers, architect } = Learning::new(scenario)?;
    let settings = scenario.run.settings();
    let mut hosts = Vec::new();
    for (index, trainer) in trainers.into_iter().enumerate() {
        let name = ClientId::new(format!("device-{index:05}"))?;
        let device =
            Device::draw(&scenario.devices, &mut stream(settings.seed, None, Some(&name), Purpose::World));
        let summary = trainer.summary();
        let (examples, held_out) = (summary.examples, summary.held_out);
        let mut first = Vec::new();
        let config = Config::new(name.clone(), summary, settings.seed);
        let core = Client::new(config, BTreeMap::new(), &mut first);
        hosts.push(Host {
            name,
            core,
            first,
            device,
            trainer: Some(trainer),
            session: 0,
            connected: false,
            fetching: None,
            uploading: false,
            away_until: Timestamp::START,
            wake: None,
            examples,
            held_out,
            contributions: 0,
        });
    }
    let clients = scenario.devices.count;
    // A toy job takes microseconds: handing it to a thread would cost more than doing it.
    let workers = Workers::new(if scenario.data.source == Source::Toy { 0 } else { workers })?;
    let coordinator = Coordinator::new(scenario.run.clone());
    let world = World::new(coordinator, hosts, architect, workers, scenario.devices.clone(), on_report);
    let (rounds, ending) = world.run();
    let mut participation = BTreeMap::new();
    for contributions in &ending.contributions {
        *participation.entry(*contributions).or_insert(0) += 1;
    }
    Ok(RunReport {
        title: scenario.title.clone(),
        seed: settings.seed,
        clients,
        complete: ending.complete,
        reason: ending.reason,
        virtual_seconds: ending.at.since_start().as_secs_f64(),
        updates: ending.contributions.iter().map(|times| u64::from(*times)).sum(),
        rounds,
        participation,
    })
}

fn tell(round: &RoundReport, json: bool) {
    if json {
        return;
    }
    let ap = |value: Option<f64>| value.map_or_else(|| "  –  ".to_owned(), |value| format!("{value:.3}"));
    let central = round.ap50.map_or_else(String::new, |value| format!("  central {value:.3}"));
    say(&format!(
        "round {:>4}  version {:>4}  contributors {:>5}/{:<5}  AP50 global {} personal {} worst {}{central}  up {} B",
        round.round.0,
        round.version.0,
        round.contributors,
        round.asked,
        ap(round.ap50_global),
        ap(round.ap50_personal),
        ap(round.ap50_worst),
        round.uplink_bytes,
    ));
}

/// Text and an end of line to standard output; a closed pipe is the reader's choice.
pub fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

#[cfg(test)]
mod tests;
