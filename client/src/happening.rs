//! What a running client tells its owner: one line for people, or one JSON object for scripts.

use std::fmt;

use protocol::id::{ClientId, Round, RunId, Version};
use serde::{Serialize, Serializer};

/// Something worth telling. With `--json`, `event` names the kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// What the device has; said first.
    Started {
        /// The device's name.
        client: ClientId,
        /// Its coordinator.
        coordinator: String,
        /// Training images.
        examples: u32,
        /// Held-out images.
        held_out: u32,
        /// Classes of its annotations.
        classes: Vec<String>,
    },
    /// The session with the coordinator is open.
    Connected {
        /// Where.
        coordinator: String,
    },
    /// The session has ended, or cannot be opened; said once until it is open again.
    Disconnected {
        /// One line.
        reason: String,
    },
    /// The coordinator has said which run this is, and which model it trains once that is known.
    Welcomed {
        /// The run, in JSON as it is printed.
        #[serde(serialize_with = "as_text")]
        run: RunId,
        /// The model's preset; none while the first devices gather.
        preset: Option<String>,
        /// Its classes.
        classes: Vec<String>,
    },
    /// A version has been fetched.
    Fetched {
        /// The version.
        version: Version,
        /// Bytes of its snapshot.
        bytes: u64,
    },
    /// Training begins.
    Training {
        /// The round.
        round: Round,
    },
    /// Training has ended.
    Trained {
        /// The round.
        round: Round,
        /// Images learned from.
        examples: u32,
        /// Optimiser steps.
        steps: u32,
        /// Mean loss of the last pass.
        loss: f32,
        /// Time it took.
        seconds: f64,
    },
    /// Training was not possible; the coordinator is told so.
    Failed {
        /// The round.
        round: Round,
        /// One line.
        reason: String,
    },
    /// An update has been answered.
    Uploaded {
        /// The round.
        round: Round,
        /// Bytes of the update.
        bytes: u64,
        /// Bytes the same update takes as plain f32.
        dense_bytes: u64,
        /// Whether it counts.
        accepted: bool,
        /// Why it does not.
        reason: Option<String>,
    },
    /// A version has been scored on the held-out images.
    Evaluated {
        /// The version.
        version: Version,
        /// Held-out images.
        images: u32,
        /// Objects in them.
        boxes: u32,
        /// AP at IoU 0.50 of the version as published, 0..1.
        ap50_global: f64,
        /// AP at IoU 0.50 with the device's personal values.
        ap50_personal: f64,
        /// AP over IoU 0.50:0.05:0.95 of the version as published.
        ap_global: f64,
        /// AP over IoU 0.50:0.05:0.95 with the device's personal values.
        ap_personal: f64,
        /// Time it took.
        seconds: f64,
    },
    /// Anything else, one line.
    Notice {
        /// The line.
        text: String,
    },
    /// The client ends.
    Finished {
        /// One line.
        reason: String,
        /// Whether the run has ended.
        complete: bool,
    },
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { client, coordinator, examples, held_out, classes } => write!(
                f,
                "{client}: {examples} images to learn from, {held_out} held out, classes {}; coordinator {coordinator}",
                classes.join(", ")
            ),
            Self::Connected { coordinator } => write!(f, "connected to {coordinator}"),
            Self::Disconnected { reason } => {
                write!(f, "no connection: {reason}; trying again until it is there")
            }
            Self::Welcomed { run, preset: None, .. } => write!(f, "run {run}: waiting for more devices"),
            Self::Welcomed { run, preset: Some(preset), classes } => {
                write!(f, "run {run}: {preset}, classes {}", classes.join(", "))
            }
            Self::Fetched { version, bytes } => write!(f, "fetched version {version}, {}", size(*bytes)),
            Self::Training { round } => write!(f, "round {round}: training"),
            Self::Trained { round, examples, steps, loss, seconds } => {
                write!(f, "round {round}: {examples} images, {steps} steps, loss {loss:.4}, {seconds:.1} s")
            }
            Self::Failed { round, reason } => write!(f, "round {round}: training failed: {reason}"),
            Self::Uploaded { round, bytes, dense_bytes, accepted, reason } => {
                let ratio = *dense_bytes as f64 / (*bytes).max(1) as f64;
                let answer = if *accepted { "counts" } else { "does not count: " };
                let reason = reason.as_deref().unwrap_or_default();
                write!(f, "round {round}: sent {} (1/{ratio:.0} of dense), {answer}{reason}", size(*bytes))
            }
            Self::Evaluated { version, images: 0, .. } => {
                write!(f, "version {version}: no held-out images to score")
            }
            Self::Evaluated { version, images, ap50_global, ap50_personal, .. } => write!(
                f,
                "version {version}: AP50 {ap50_global:.3}, personal {ap50_personal:.3}, on {images} held-out images"
            ),
            Self::Notice { text } => f.write_str(text),
            Self::Finished { reason, .. } => f.write_str(reason),
        }
    }
}

/// Half of all run ids are too large for the numbers of JavaScript.
pub(crate) fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
