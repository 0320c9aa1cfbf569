//! Checks of single fields.

use std::collections::BTreeSet;
use std::fmt::Display;

use params::Digest;
use protocol::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

use super::DecodeError;

/// A digest: 32 bytes.
pub(super) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, DecodeError> {
    let digest = <[u8; 32]>::try_from(bytes);
    digest.map(Digest).map_err(|_| DecodeError::Length { field, expected: 32, found: bytes.len() })
}

/// Opaque bytes up to a limit.
pub(super) fn bytes(field: &'static str, bytes: Vec<u8>, max: usize) -> Result<Vec<u8>, DecodeError> {
    at_most(field, bytes.len(), max, "bytes")?;
    Ok(bytes)
}

/// Free text, one line: control characters become spaces, so that it can be printed and logged as it is.
pub(super) fn text(field: &'static str, text: String) -> Result<String, DecodeError> {
    at_most(field, text.len(), TEXT_BYTES_MAX, "bytes")?;
    Ok(text.replace(char::is_control, " "))
}

/// Name of a preset, codec or method.
pub(super) fn name(field: &'static str, name: String) -> Result<String, DecodeError> {
    at_most(field, name.len(), NAME_BYTES_MAX, "bytes")?;
    printable(field, name)
}

/// Class names, none twice.
pub(super) fn classes(field: &'static str, classes: Vec<String>) -> Result<Vec<String>, DecodeError> {
    at_most(field, classes.len(), CLASSES_MAX, "entries")?;
    let mut seen = BTreeSet::new();
    for class in &classes {
        at_most(field, class.len(), CLASS_NAME_BYTES_MAX, "bytes")?;
        if !seen.insert(class.as_str()) {
            return Err(DecodeError::Repeated { field, name: class.clone() });
        }
    }
    classes.into_iter().map(|class| printable(field, class)).collect()
}

/// A number in `low..=high`; NaN is in no range.
pub(super) fn within<T: PartialOrd + Display + Copy>(
    field: &'static str,
    value: T,
    low: T,
    high: T,
) -> Result<T, DecodeError> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(DecodeError::Range { field, found: value.to_string(), allowed: format!("{low} to {high}") })
}

/// A finite number that is not negative.
pub(super) fn magnitude(field: &'static str, value: f32) -> Result<f32, DecodeError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    let allowed = "a finite number from 0 up".to_owned();
    Err(DecodeError::Range { field, found: value.to_string(), allowed })
}

fn at_most(field: &'static str, found: usize, max: usize, unit: &'static str) -> Result<(), DecodeError> {
    if found > max {
        return Err(DecodeError::TooLong { field, found: found as u64, max: max as u64, unit });
    }
    Ok(())
}

fn printable(field: &'static str, name: String) -> Result<String, DecodeError> {
    if name.is_empty() || name.contains(char::is_control) {
        return Err(DecodeError::Name { field, name });
    }
    Ok(name)
}
