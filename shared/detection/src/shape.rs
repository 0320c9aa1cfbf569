//! The one thing every function on plain slices has to check.

/// A slice of another length than its partners need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has length {found}, expected {expected}")]
pub struct LengthError {
    /// The slice.
    pub what: &'static str,
    /// Length needed.
    pub expected: usize,
    /// Length given.
    pub found: usize,
}

/// Compares two lengths.
pub(crate) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), LengthError> {
    if expected == found { Ok(()) } else { Err(LengthError { what, expected, found }) }
}
