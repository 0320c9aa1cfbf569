//! What the operator sees: lines for people or for programs, a bar on a terminal, and files for later.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordinator_core::{RoundReport, RunConfig, Status};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::id::Round;
use protocol::plan::ModelSpec;
use serde_json::{Value, json};

use crate::durable::{self, Access};
use crate::{Error, StoreError};

mod line;
mod model_card;
mod remains;

pub(crate) use line::bytes;
pub(crate) use remains::Remains;

const METRICS: &str = "metrics.jsonl";

/// Where everything that is said goes.
pub struct Output {
    out: Box<dyn Write + Send>,
    json: bool,
    bar: Option<ProgressBar>,
    /// Where `metrics.jsonl` and the files of the end are written; nowhere in tests.
    folder: Option<PathBuf>,
    rounds: u32,
    reported: BTreeSet<Round>,
    /// Said once what is stored is known to fit: nobody should join a coordinator that cannot go on.
    greeting: Option<Value>,
}

impl Output {
    /// Lines on standard output, for people or, with `json`, for programs; a bar if people are watching.
    pub fn standard(json: bool, folder: Option<PathBuf>) -> Self {
        let out = Self::to(Box::new(io::stdout()), json, folder);
        let watched = !json && io::stdout().is_terminal() && io::stderr().is_terminal();
        Self { bar: watched.then(bar), ..out }
    }

    /// Lines to a writer.
    pub fn to(out: Box<dyn Write + Send>, json: bool, folder: Option<PathBuf>) -> Self {
        Self { out, json, bar: None, folder, rounds: 0, reported: BTreeSet::new(), greeting: None }
    }

    /// The folder for files.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.folder.clone()
    }

    /// The run as it begins or goes on, with the reports there are: `metrics.jsonl` has each of them once.
    pub(crate) fn begin(&mut self, config: &RunConfig, reports: &[RoundReport]) -> Result<(), Error> {
        self.rounds = config.settings().rounds;
        self.reported = reports.iter().map(|report| report.round).collect();
        if let Some(bar) = &self.bar {
            bar.set_length(self.rounds.into());
        }
        if let Some(path) = self.metrics() {
            let text: String = reports.iter().map(metrics_line).collect();
            let written = durable::write(&path, text.as_bytes(), Access::Usual);
            written.map_err(|source| StoreError::io(path, source))?;
        }
        self.say_greeting();
        Ok(())
    }

    /// Where clients reach the coordinator, and how to join; said when the run begins.
    pub(crate) fn greet(&mut self, address: &str, join: Option<&Join<'_>>, state: Option<&Path>) {
        let more = state.map(|state| format!("coordinator token create --state {}", state.display()));
        let join = join.map(Join::command);
        self.greeting = Some(json!({ "address": address, "join": join, "more_tokens": more }));
    }

    fn say_greeting(&mut self) {
        let Some(greeting) = self.greeting.take() else { return };
        if self.json {
            return self.object("listening", greeting);
        }
        let text = |field: &str| greeting[field].as_str();
        self.line(&format!("listening on {}", text("address").unwrap_or_default()));
        if let Some(join) = text("join") {
            self.line("a device joins with (the token works once, for an hour):");
            self.line(&format!("  {join}"));
        }
        if let Some(more) = text("more_tokens") {
            self.line(&format!("further tokens: {more}"));
        }
    }

    /// The classes are frozen; the model is made now.
    pub(crate) fn started(&mut self, config: &RunConfig, spec: &ModelSpec) {
        if self.json {
            let run = config.run().to_string();
            self.object("started", json!({ "run": run, "preset": spec.preset, "classes": spec.classes }));
        } else {
            let classes = spec.classes.join(", ");
            self.line(&format!("run {} begins: {} for {classes}", config.run(), spec.preset));
        }
    }

    /// Something the operator should know.
    pub(crate) fn notice(&mut self, line: &str) {
        tracing::info!("{line}");
        if self.json {
            self.object("notice", json!({ "text": line }));
        } else {
            self.line(line);
        }
    }

    /// The operator asked to stop.
    pub(crate) fn stopping(&mut self, status: &Status) {
        let text = match status.phase {
            "collecting" => format!("stopping: settling round {} (again to stop at once)", status.round),
            phase => format!("stopping while {phase} (again to stop at once)"),
        };
        self.notice(&text);
    }

    /// A glance at the run, for the bar.
    pub(crate) fn status(&mut self, status: &Status) {
        if let Some(bar) = &self.bar {
            bar.set_position(status.version.map_or(0, |version| version.0.into()));
            bar.set_message(line::status(status));
        }
    }

    /// A round is over.
    pub(crate) fn round(&mut self, report: &RoundReport) -> Result<(), Error> {
        if self.json {
            let Ok(report) = serde_json::to_value(report) else { unreachable!("a report is plain") };
            self.object("round", report);
        } else {
            self.line(&line::round(report, self.rounds));
        }
        let Some(path) = self.metrics().filter(|_| self.reported.insert(report.round)) else { return Ok(()) };
        let append = |path: &Path| {
            let mut file = File::options().append(true).create(true).open(path)?;
            file.write_all(metrics_line(report).as_bytes())
        };
        append(&path).map_err(|source| StoreError::io(path, source).into())
    }

    /// The end.
    pub(crate) fn end(&mut self, remains: &Remains) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.json {
            let end = &remains.end;
            return self.object("end", json!({ "complete": end.complete, "reason": end.reason }));
        }
        for line in remains.lines(self.folder.as_deref()) {
            self.line(&line);
        }
    }

    fn metrics(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(METRICS))
    }

    fn object(&mut self, event: &str, mut body: Value) {
        if let Some(body) = body.as_object_mut() {
            body.insert("event".to_owned(), event.into());
        }
        self.line(&body.to_string());
    }

    /// A reader that went away (`coordinator | head`) must not end the run.
    fn line(&mut self, line: &str) {
        let out = &mut self.out;
        let mut write = || drop(writeln!(out, "{line}").and_then(|()| out.flush()));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// How a device joins.
pub(crate) struct Join<'a> {
    pub(crate) address: &'a str,
    pub(crate) token: String,
}

impl Join<'_> {
    fn command(&self) -> String {
        format!("client join {} --token {}", self.address, self.token)
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {elapsed}") {
        bar.set_style(style);
        // The time goes on while devices train for an hour.
        bar.enable_steady_tick(Duration::from_secs(1));
    }
    bar
}

fn metrics_line(report: &RoundReport) -> String {
    let Ok(line) = serde_json::to_string(report) else { unreachable!("a report is plain") };
    line + "\n"
}
