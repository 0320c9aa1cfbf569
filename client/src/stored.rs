//! What a run has left on the device: the final version, and what the device made its own.

use client_core::personalise;
use client_core::state::{DEVICE, Device, FinalModel, MODEL, Origin};
use params::{Layout, Scope};
use protocol::train::DeviceModel;

use crate::failure::Failure;
use crate::folder::Folder;

/// The final version, and what the device has of its own for the same run.
#[derive(Debug)]
pub(crate) struct StoredModel {
    pub(crate) last: FinalModel,
    own: Option<(Origin, Device)>,
}

impl StoredModel {
    /// Reads it.
    ///
    /// # Errors
    /// No run has ended yet; damaged state.
    pub(crate) fn read(folder: &Folder) -> Result<Self, Failure> {
        let at = |reason: &dyn std::fmt::Display| format!("{}: {reason}", folder.path().display());
        let Some(bytes) = folder.load_one(MODEL)? else {
            return Err(Failure::usage(at(
                &"there is no model yet: `client run` stores it when the run has ended",
            )));
        };
        let last = FinalModel::decode(&bytes).map_err(|error| {
            Failure::run(at(&format_args!(
                "{error}: run `client run` once more, it fetches the version again"
            )))
        })?;
        let own = match folder.load_one(DEVICE)?.map(|bytes| Device::decode(&bytes)).transpose() {
            Ok(own) => own,
            Err(error) => {
                eprintln!("left aside: {error}; the model that all devices share is used alone");
                None
            }
        };
        Ok(Self { last, own })
    }

    /// The values to work with, for the layout of the model: the device's own where it has them, and what they started from
    /// where it has none.
    ///
    /// # Errors
    /// Values of another model.
    pub(crate) fn values(&self, layout: &Layout) -> Result<DeviceModel, Failure> {
        let last = &self.last;
        let (shared, statistics) =
            (layout.of_scope(Scope::Shared).len(), layout.of_scope(Scope::Statistic).len());
        if (last.shared.len(), last.statistics.len()) != (shared, statistics) {
            return Err(Failure::run(format!(
                "the stored version has {} weights and {} statistics, {} of this build {shared} and {statistics}: use the \
                 Fovea version that stored it",
                last.shared.len(),
                last.statistics.len(),
                last.about.spec.preset,
            )));
        }
        let origin = Origin { run: last.about.run, layout: layout.digest() };
        let own = self.own.as_ref().filter(|(found, _)| *found == origin).map(|(_, own)| own);
        let statistics = own.map(|own| &own.statistics).filter(|own| own.len() == statistics);
        let personal_len = layout.of_scope(Scope::Personal).len();
        let personal = own.map(|own| &own.personal).filter(|own| own.len() == personal_len);
        Ok(DeviceModel {
            shared: last.shared.clone(),
            statistics: statistics.unwrap_or(&last.statistics).clone(),
            personal: personal.cloned().unwrap_or_else(|| personalise::start(layout, &last.shared)),
        })
    }
}
