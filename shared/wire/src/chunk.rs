//! Bulk data in bounded pieces: a header says length and digest, chunks follow in order.

use bytes::Bytes;
use params::Digest;
use protocol::id::{RunId, Version};
use protocol::limits::CHUNK_BYTES_MAX;
use protocol::message::{Part, Receipt};
use thiserror::Error;

/// Asks for what leads to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadRequest {
    /// The run.
    pub run: RunId,
    /// The version.
    pub version: Version,
    /// Name of the contents that the client holds.
    pub held: Option<[u8; 8]>,
    /// What an earlier attempt has brought.
    pub begun: Option<Begun>,
}

/// A download of which some bytes have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// How many.
    pub offset: u64,
    /// Digest of the whole download.
    pub digest: Digest,
}

/// What the chunks of a download amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadHeader {
    /// The version.
    pub version: Version,
    /// Length of all parts, bytes.
    pub length: u64,
    /// Digest of their bytes, one after the other.
    pub digest: Digest,
    /// Where the chunks begin: 0, or the end of what has arrived.
    pub from: u64,
    /// What the bytes are; together `length` of them.
    pub parts: Vec<Part>,
}

/// What the coordinator says to an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadReply {
    /// There is room: send the payload from this byte on.
    From(u64),
    /// The answer; nothing follows.
    Receipt(Receipt),
}

/// Why chunks do not amount to what was announced.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// A chunk of no bytes, or of more than [`CHUNK_BYTES_MAX`].
    #[error("a chunk has {found} bytes; 1 to {max} are allowed")]
    Size {
        /// Its length.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// More bytes than the header announced.
    #[error("{found} bytes arrived where the header announced {expected}")]
    TooMany {
        /// Announced.
        expected: u64,
        /// Arrived, with the chunk at fault.
        found: u64,
    },
    /// The stream ended early.
    #[error("the data ended after {found} of {expected} bytes")]
    Truncated {
        /// Announced.
        expected: u64,
        /// Arrived.
        found: u64,
    },
    /// The bytes are not those the header announced.
    #[error("the data has digest {found:?}, the header announced {expected:?}")]
    Digest {
        /// Announced.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
}

/// Slices of `data` of `size` bytes, at least 1, the last one shorter; none for empty data. Shares the buffer.
pub fn split(data: Bytes, size: usize) -> impl Iterator<Item = Bytes> + Send {
    let size = size.max(1);
    let starts = (0..data.len()).step_by(size);
    starts.map(move |start| data.slice(start..data.len().min(start + size)))
}

/// Puts chunks together again. Memory follows what arrived, never what was announced.
#[derive(Debug)]
pub struct Joiner {
    length: u64,
    digest: Digest,
    data: Vec<u8>,
}

impl Joiner {
    /// Expects `length` bytes with this digest; the caller has checked `length` against its limit.
    pub fn new(length: u64, digest: Digest) -> Self {
        Self { length, digest, data: Vec::new() }
    }

    /// Goes on with bytes that have arrived earlier.
    ///
    /// # Errors
    /// More bytes than there are to be.
    pub fn resume(length: u64, digest: Digest, data: Vec<u8>) -> Result<Self, ChunkError> {
        let found = data.len() as u64;
        if found > length {
            Err(ChunkError::TooMany { expected: length, found })
        } else {
            Ok(Self { length, digest, data })
        }
    }

    /// The bytes so far, for another attempt.
    pub fn into_received(self) -> Vec<u8> {
        self.data
    }

    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.data.len() as u64
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// Empty or oversized chunks, and more bytes than announced.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ChunkError> {
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            return Err(ChunkError::Size { found: chunk.len(), max: CHUNK_BYTES_MAX });
        }
        let found = self.received() + chunk.len() as u64;
        if found > self.length {
            return Err(ChunkError::TooMany { expected: self.length, found });
        }
        self.data.extend_from_slice(chunk);
        Ok(())
    }

    /// All bytes, once they are complete; for callers that check the digest with everything else.
    ///
    /// # Errors
    /// Missing bytes.
    pub fn complete(self) -> Result<Vec<u8>, ChunkError> {
        if self.received() < self.length {
            return Err(ChunkError::Truncated { expected: self.length, found: self.received() });
        }
        Ok(self.data)
    }

    /// All bytes, once they are complete and have the announced digest. Hashing takes about a second per GiB: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// Missing bytes, or another digest.
    pub fn finish(self) -> Result<Vec<u8>, ChunkError> {
        let expected = self.digest;
        let data = self.complete()?;
        let found = Digest::of(&[&data]);
        if found != expected {
            return Err(ChunkError::Digest { expected, found });
        }
        Ok(data)
    }
}
