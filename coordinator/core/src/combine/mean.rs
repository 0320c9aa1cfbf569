//! The weighted mean (`FedAvg`, McMahan et al. 2017, arXiv 1602.05629), exact and independent of the order of arrival.
//!
//! Sum semantics: the denominator is the weight of *all* participants. Dividing a coordinate by those that sent it would
//! multiply rare coordinates by up to the cohort's size and break the accounting of error feedback.

use std::sync::Arc;

use params::{Accumulator, Grid, Layout, SumError};
use protocol::id::ClientId;
use serde::Deserialize;

use super::{Combination, Needs, Rule};
use crate::registry::Entry;

pub(super) const ENTRY: Entry<dyn Rule> = Entry {
    name: "mean",
    about: "mean weighted by capped examples, exact in fixed point",
    build: |choice| Ok(Box::new(choice.parse::<Mean>()?)),
};

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
    fn add(&mut self, _client: &ClientId, entries: &[(u32, f32)], weight: u32) -> Result<(), SumError> {
        self.0.add(entries, weight)
    }

    fn combined(&self) -> Vec<i64> {
        self.0.mean_subticks()
    }
}
