//! Standard output.

use std::fmt::Display;
use std::io::{Write, stdout};

use serde::Serialize;

/// Prints one line. Nobody reading it is no reason to stop.
pub(crate) fn print_line(line: impl Display) {
    let _ = writeln!(stdout().lock(), "{line}");
}

/// Prints one object on one line.
pub(crate) fn print_json(value: &impl Serialize) {
    // Plain structs with string keys always serialise.
    print_line(serde_json::to_string(value).unwrap_or_default());
}
