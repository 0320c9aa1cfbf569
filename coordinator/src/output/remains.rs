//! What remains of a run: `report.json`, and when all rounds were run the model and its card.

use std::path::Path;
use std::sync::Arc;

use coordinator_core::{Published, RoundReport, RunConfig};
use protocol::plan::ModelSpec;
use serde_json::json;

use super::{bytes, model_card};
use crate::driver::End;
use crate::durable::{self, Access};
use crate::learning::Learning;
use crate::{Error, StoreError};

const REPORT: &str = "report.json";
const MODEL: &str = "final.safetensors";
const CARD: &str = "MODEL_CARD.md";

/// Everything that is known at the end.
pub(crate) struct Remains {
    pub(crate) config: RunConfig,
    /// Architecture and classes, if the run got that far.
    pub(crate) spec: Option<ModelSpec>,
    pub(crate) published: Option<Arc<Published>>,
    pub(crate) reports: Vec<RoundReport>,
    pub(crate) end: End,
}

impl Remains {
    /// Writes the files. May take seconds.
    pub(crate) fn write(&self, folder: &Path, learning: &dyn Learning) -> Result<(), Error> {
        let report = json!({
            "run": self.config.run().to_string(),
            "preset": self.config.settings().preset,
            "classes": self.spec.as_ref().map(|spec| &spec.classes),
            "complete": self.end.complete,
            "reason": self.end.reason,
            "settings": self.config.settings(),
            "rounds": self.reports,
        });
        let Ok(text) = serde_json::to_string_pretty(&report) else { unreachable!("a report is plain") };
        write(folder, REPORT, &(text + "\n"))?;
        if let (true, Some(spec), Some(published)) = (self.end.complete, &self.spec, &self.published) {
            learning.save(&folder.join(MODEL), spec, published).map_err(Error::Run)?;
            let card = model_card::text(self.config.settings(), spec, published, &self.reports);
            write(folder, CARD, &card)?;
        }
        Ok(())
    }

    /// The end for people.
    pub(super) fn lines(&self, folder: Option<&Path>) -> Vec<String> {
        let mut lines = vec![self.end.reason.clone()];
        let sum = |of: fn(&RoundReport) -> u64| self.reports.iter().map(of).sum::<u64>();
        let (up, down) = (sum(|report| report.uplink_bytes), sum(|report| report.downlink_bytes));
        if up > 0 {
            let ratio = sum(|report| report.dense_bytes) as f64 / up as f64;
            let (up, down) = (bytes(up), bytes(down));
            lines.push(format!("in all: up {up} (1/{ratio:.0} of dense), down {down}"));
        }
        if let Some(folder) = folder {
            let of_run =
                if self.end.complete { format!("{MODEL}, {CARD}, {REPORT}") } else { REPORT.to_owned() };
            lines.push(format!("in {}: {of_run}", folder.display()));
        }
        if !self.end.complete && self.end.stopped {
            lines.push("start again with the same settings and state folder to go on".to_owned());
        }
        lines
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = folder.join(name);
    durable::write(&path, text.as_bytes(), Access::Usual)
        .map_err(|source| StoreError::io(path, source).into())
}
