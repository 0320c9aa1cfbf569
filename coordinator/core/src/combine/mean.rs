//! The weighted mean (`FedAvg`, McMahan et al. 2017, arXiv 1602.05629), exact and independent of the order of arrival.
//!
//! Sum semantics: the denominator is the weight of *all* participants. Dividing a coordinate by those that sent it would
//! multiply rare coordinates by up to the cohort's size and break the accounting of error feedback.

use std::sync::Arc;

use codec::tiles::UpdateError;
use params::{Accumulator, Grid, Layout};
use protocol::id::ClientId;
use serde::Deserialize;

use super::{Combination, Needs, Rule};
use crate::event::Admitted;
use crate::registry::Entry;

pub(super) const ENTRY: Entry<dyn Rule> = Entry {
    name: "mean",
    about: "mean weighted by capped examples, exact in fixed point",
    build: |choice| Ok(Box::new(choice.parse::<Mean>()?)),
};

/// Values from which on several threads add faster than one.
const PARALLEL_MIN: usize = 1 << 18;

/// No settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mean {}

impl Rule for Mean {
    fn needs(&self) -> Needs {
        Needs::Sums
    }

    fn open(&self, layout: Arc<Layout>, grid: &Grid) -> Box<dyn Combination> {
        Box::new(Sum(Accumulator::new(layout, grid)))
    }
}

#[derive(Debug)]
struct Sum(Accumulator);

impl Combination for Sum {
    fn add(
        &mut self,
        _client: &ClientId,
        Admitted { update, payload, .. }: &Admitted,
        weight: u32,
        threads: usize,
    ) -> Result<(), UpdateError> {
        let threads = if self.0.layout().len() < PARALLEL_MIN { 1 } else { threads };
        update.add_to(&mut self.0, payload, weight, threads)
    }

    fn take(&mut self, first: usize) -> Vec<i64> {
        self.0.take_mean_subticks(first)
    }
}
