//! Who is asked in a round: trait and registry.

use std::fmt;

use protocol::id::{ClientId, Round};

use crate::registry::{self, Choice, ChoiceError, Entry};

mod uniform;

/// The cohort choices there are. One file and one line each; the law tests iterate this table.
pub static REGISTRY: &[Entry<dyn Select>] = &[uniform::ENTRY];

/// Chooses a cohort.
pub trait Select: Send + Sync + fmt::Debug {
    /// `size` of the `candidates` (all of them when there are fewer), each at most once, in order of name; the same for the
    /// same seed, round and candidates. `candidates` come in order of name, without repeats.
    fn select(&self, seed: u64, round: Round, candidates: &[&ClientId], size: usize) -> Vec<ClientId>;
}

/// Builds the cohort choice `choice` names.
///
/// # Errors
/// An unknown name or wrong settings.
pub fn build(choice: &Choice) -> Result<Box<dyn Select>, ChoiceError> {
    registry::build(REGISTRY, "cohort choice", choice)
}
