//! What can be wrong with settings, with values to encode, and with bytes to decode.

use thiserror::Error;

/// Settings a codec cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// No codec of this name.
    #[error("codec {found:?} is not known; there are {known}")]
    Unknown {
        /// The name asked for.
        found: String,
        /// The names there are.
        known: String,
    },
    /// A number outside its range.
    #[error("{what} is {found}, outside {range}")]
    Range {
        /// Which setting.
        what: &'static str,
        /// Its value as text.
        found: String,
        /// The allowed range as text.
        range: &'static str,
    },
}

/// Values that cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Wrong number of values.
    #[error("expected {expected} {what}, found {found}")]
    Length {
        /// What is counted.
        what: &'static str,
        /// What the layout asks for.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// NaN, infinite, or too large to be added to a residual.
    #[error("tensor {tensor} holds {value} at position {position}")]
    Value {
        /// Name of the tensor.
        tensor: String,
        /// Position within the tensor.
        position: usize,
        /// The value as text.
        value: String,
    },
}

/// Bytes that break a rule of their format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: {rule}")]
pub struct DecodeError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// Which rule.
    pub rule: Rule,
}

impl DecodeError {
    /// The same, when what was decoded begins at byte `start`.
    pub(crate) fn behind(self, start: usize) -> Self {
        Self { offset: start + self.offset, ..self }
    }
}

/// The rules of the formats (FORMAT.md gives the reasons).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rule {
    /// More bytes are needed.
    #[error("the bytes end too early")]
    Truncated,
    /// Bytes after the end.
    #[error("{found} bytes follow the end")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// The bytes are not those that were written.
    #[error("checksum is {found:08x}, the bytes give {expected:08x}")]
    Checksum {
        /// Over the bytes.
        expected: u32,
        /// As stored.
        found: u32,
    },
    /// A kind or codec id this build does not know.
    #[error("{what} {found} is not known")]
    Unknown {
        /// What is numbered.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// Another number than the layout or the owner asks for.
    #[error("{what} should be {expected}, found {found}")]
    Mismatch {
        /// What is compared.
        what: &'static str,
        /// What the layout asks for.
        expected: u64,
        /// What the bytes say.
        found: u64,
    },
    /// A number outside its range.
    #[error("{what} is {found}, outside {min} to {max}")]
    Range {
        /// What is bounded.
        what: &'static str,
        /// What the bytes say.
        found: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// NaN or infinite.
    #[error("{what} is not finite")]
    NotFinite {
        /// Which number.
        what: &'static str,
    },
    /// The state belongs to another run, layout or owner.
    #[error("{what} belongs elsewhere")]
    Foreign {
        /// What.
        what: &'static str,
    },
    /// Written in another form than the one allowed, so that equal contents would have unequal bytes.
    #[error("{what} is not in its one allowed form")]
    Form {
        /// What.
        what: &'static str,
    },
}
