//! What a version has left out, while it waits where the driver has stored it.

use std::sync::Arc;

use codec::payload::{Stored, Unreadable};

use super::TILE;

/// A residual that is not in memory. It is read back by tiles, each of which has to be what it was.
#[derive(Debug)]
pub(crate) struct Aside {
    stored: Arc<dyn Stored>,
    /// CRC-32C of each tile.
    sums: Vec<u32>,
}

impl Aside {
    /// `residual` is stored as little-endian i32.
    pub(crate) fn new(residual: &[i32], stored: Arc<dyn Stored>) -> Self {
        let mut bytes = Vec::with_capacity(4 * TILE);
        let sum = |tile: &[i32]| {
            bytes.clear();
            bytes.extend(tile.iter().flat_map(|ticks| ticks.to_le_bytes()));
            crc32c::crc32c(&bytes)
        };
        Self { stored, sums: residual.chunks(TILE).map(sum).collect() }
    }

    /// Reads the tile that begins at flat index `first`, a multiple of [`TILE`].
    ///
    /// # Errors
    /// It cannot be read, or is not what was stored.
    pub(crate) fn read(&self, first: usize, into: &mut [i32]) -> Result<(), Unreadable> {
        let mut bytes = vec![0; 4 * into.len()];
        self.stored.read(4 * first, &mut bytes)?;
        if self.sums.get(first / TILE) != Some(&crc32c::crc32c(&bytes)) {
            return Err(Unreadable(format!("what was left out of the version is damaged at value {first}")));
        }
        for (ticks, word) in into.iter_mut().zip(bytes.as_chunks().0) {
            *ticks = i32::from_le_bytes(*word);
        }
        Ok(())
    }
}
