//! How the updates of a round become one: trait and registry.
//!
//! A rule that needs only sums takes each update as it arrives, so that memory does not grow with the number of clients.

use std::fmt;
use std::sync::Arc;

use codec::tiles::UpdateError;
use params::{Grid, Layout};
use protocol::id::ClientId;

use crate::event::Admitted;
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
    /// Adds one client's update, absent values meaning zero, with at most so many threads.
    ///
    /// # Errors
    /// [`UpdateError::Sum`] for an index, value or weight that cannot be summed exactly; the combination is then unchanged. Any
    /// other error means that the update's bytes are gone, and the combination is of no use any more.
    fn add(
        &mut self,
        client: &ClientId,
        update: &Admitted,
        weight: u32,
        threads: usize,
    ) -> Result<(), UpdateError>;

    /// The combined update of the values from flat index `first` to those taken before, in subticks (2^-8 of the grid's step), in layout
    /// order. Taken from the end to the start, so that its memory is free by the time that a version is made of it; nothing can be added
    /// any more.
    fn take(&mut self, first: usize) -> Vec<i64>;
}

/// Builds the rule `choice` names.
///
/// # Errors
/// An unknown name or wrong settings.
pub fn build(choice: &Choice) -> Result<Box<dyn Rule>, ChoiceError> {
    registry::build(REGISTRY, "combination rule", choice)
}
