//! An update's bytes, wherever they are kept: large ones need not be in memory.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use params::Digest;
use thiserror::Error;

/// Bytes that are kept outside of memory, and stay as they are.
pub trait Stored: Send + Sync + fmt::Debug {
    /// Reads the bytes from `offset` on, as many as `into` holds.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Unreadable>;
}

/// Stored bytes cannot be read again: why, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the bytes of an update cannot be read again: {0}")]
pub struct Unreadable(pub String);

/// The bytes of an update. Clones share them.
#[derive(Clone, Debug)]
pub struct Payload {
    length: usize,
    digest: Digest,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
enum Bytes {
    Memory(Arc<[u8]>),
    Stored(Arc<dyn Stored>),
}

impl Payload {
    /// `length` bytes with this digest, which whoever stored them has computed.
    pub fn stored(length: usize, digest: Digest, bytes: Arc<dyn Stored>) -> Self {
        Self { length, digest, bytes: Bytes::Stored(bytes) }
    }

    /// Bytes with this digest, which whoever has them has computed or compared.
    pub fn known(bytes: &[u8], digest: Digest) -> Self {
        Self { length: bytes.len(), digest, bytes: Bytes::Memory(bytes.into()) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All bytes, if they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Memory(bytes) => Some(bytes),
            Bytes::Stored(_) => None,
        }
    }

    /// All bytes; reads them into memory if they are not there.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn whole(&self) -> Result<Cow<'_, [u8]>, Unreadable> {
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Bytes::Stored(stored) => {
                let mut bytes = vec![0; self.length];
                stored.read(0, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::known(bytes, Digest::of(&[bytes]))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(&*bytes)
    }
}

/// Equal bytes; where they are stored, by their digests alone, so that nothing is read.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        let described = self.length == other.length && self.digest == other.digest;
        described && self.in_memory().zip(other.in_memory()).is_none_or(|(own, other)| own == other)
    }
}

/// Bytes of a payload that lie together, read some at a time.
pub(crate) struct Window<'a> {
    payload: &'a Payload,
    /// What was read last; nothing if all is in memory.
    held: Vec<u8>,
    /// Where in the payload it begins.
    start: usize,
}

/// Bytes that are read at a time.
pub(crate) const WINDOW_BYTES: usize = 64 << 10;

impl<'a> Window<'a> {
    pub(crate) fn new(payload: &'a Payload) -> Self {
        Self { payload, held: Vec::new(), start: 0 }
    }

    /// Length of the whole payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.length
    }

    /// The bytes at `range`, which is within the payload. Cheap when ranges follow each other.
    pub(crate) fn bytes(&mut self, range: Range<usize>) -> Result<&[u8], Unreadable> {
        let stored = match &self.payload.bytes {
            Bytes::Memory(bytes) => return Ok(&bytes[range]),
            Bytes::Stored(stored) => stored,
        };
        if range.start < self.start || range.end > self.start + self.held.len() {
            let end = self.payload.length.min(range.end.max(range.start + WINDOW_BYTES));
            self.held.resize(end - range.start, 0);
            stored.read(range.start, &mut self.held)?;
            self.start = range.start;
        }
        Ok(&self.held[range.start - self.start..range.end - self.start])
    }
}
