//! How the updates of a round become one: trait and registry.
//!
//! A rule that needs only sums takes each update as it arrives, so that memory does not grow with the number of clients.

use std::fmt;
use std::sync::Arc;

use params::{Grid, Layout, SumError};
use protocol::id::ClientId;

use crate::registry::{self, Choice, ChoiceError, Entry};

mod mean;

/// The rules there are. One file and one line each; the law tests iterate this table.
pub static REGISTRY: &[Entry<dyn Rule>] = &[mean::ENTRY];

/// What a rule must see of the updates; decides what it can be paired with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Weighted sums only: works where single updates stay hidden, in memory independent of the number of clients.
    Sums,
    /// Each update by itself.
    EachUpdate,
}

/// A combination rule; makes one [`Combination`] per round.
pub trait Rule: Send + Sync + fmt::Debug {
    /// What it must see.
    fn needs(&self) -> Needs;

    /// An empty combination over the shared layout and the published version's grid.
    fn open(&self, layout: Arc<Layout>, grid: &Grid) -> Box<dyn Combination>;
}

/// The updates of one round, combined. The result must not depend on the order of [`Combination::add`].
pub trait Combination: Send + fmt::Debug {
    /// Adds one client's update: `(index, value)` in strictly increasing order of index, absent values meaning zero.
    ///
    /// # Errors
    /// An index, value or weight that cannot be summed exactly; the combination is then unchanged.
    fn add(&mut self, client: &ClientId, entries: &[(u32, f32)], weight: u32) -> Result<(), SumError>;

    /// The combined update in subticks (2^-8 of the grid's step), in layout order.
    fn combined(&self) -> Vec<i64>;
}

/// Builds the rule `choice` names.
///
/// # Errors
/// An unknown name or wrong settings.
pub fn build(choice: &Choice) -> Result<Box<dyn Rule>, ChoiceError> {
    registry::build(REGISTRY, "combination rule", choice)
}
