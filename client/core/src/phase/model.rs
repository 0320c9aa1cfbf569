//! The model of a run, as far as the core knows it.

use std::sync::Arc;

use codec::statistics::{StatisticsLayout, StatisticsLayoutError, codes};
use params::{Canonical, Layout, Scope};
use protocol::id::Version;
use protocol::train::StartValues;

use crate::download::Shape;
use crate::event::FetchedModel;
use crate::state::HeldVersion;

/// The run's model as the core sees it: layouts.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) layout: Arc<Layout>,
    pub(super) shared: Layout,
    pub(super) personal_len: usize,
    pub(super) statistics: StatisticsLayout,
}

impl Model {
    pub(super) fn new(layout: Arc<Layout>) -> Result<Self, StatisticsLayoutError> {
        Ok(Self {
            shared: layout.of_scope(Scope::Shared),
            personal_len: layout.of_scope(Scope::Personal).len(),
            statistics: StatisticsLayout::new(&layout.of_scope(Scope::Statistic))?,
            layout,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        Shape { shared: Arc::new(self.shared.clone()), statistics: self.statistics.clone() }
    }

    /// Version 0, if the run starts from these values. Where it does not, or where arithmetic rounds otherwise, the coordinator does not
    /// know it by its name and sends the whole version.
    pub(super) fn start(&self, StartValues { shared, statistics }: StartValues) -> Option<HeldVersion> {
        if statistics.len() != self.statistics.len() {
            return None;
        }
        let model = Canonical::start(Arc::new(self.shared.clone()), &shared).ok()?;
        let statistics = codes::rounded(&self.statistics, &statistics);
        let digest = model.digest();
        Some(HeldVersion { version: Version(0), digest, model: Arc::new(FetchedModel { model, statistics }) })
    }
}
