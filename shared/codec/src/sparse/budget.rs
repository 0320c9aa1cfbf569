//! As many values as fit into a number of bytes.

use params::Layout;

use super::Sparse;
use crate::select::{Source, select, shares};
use crate::{EncodeError, Encoded};

/// Messages that are made to come near the budget.
const TRIALS: usize = 6;

impl Sparse {
    /// The message with the most entries, of a few that are made, that is at most `budget` bytes.
    ///
    /// What an entry costs is estimated, and then known from the last message; it changes slowly with their number. Floors
    /// are the same share of what is sent as without a budget, and given up where they would be most of it.
    pub(super) fn fit(
        &self,
        layout: &Layout,
        source: &mut impl Source,
        budget: u32,
    ) -> Result<Encoded, EncodeError> {
        let (len, budget) = (layout.len(), budget as usize);
        let mut count = self.first_guess(len, budget);
        let mut best: Option<Encoded> = None;
        for _ in 0..TRIALS {
            let density = count as f32 / len.max(1) as f32;
            let (_, mut floors) = shares(layout, density, density * (self.floor / self.density));
            if 2 * floors.iter().sum::<usize>() > count {
                floors.fill(0);
            }
            let encoded = self.write(layout, select(layout, source, count, floors, self.score)?);
            let (bytes, found) = (encoded.payload.len(), encoded.entries.len());
            let fits = bytes <= budget;
            // 2 of 1000 bytes are left, so that the next one fits as well.
            let next = (found as f64 * 0.998 * budget as f64 / bytes as f64) as usize;
            let next = next.clamp(1, len.max(1));
            if fits && best.as_ref().is_none_or(|best| best.entries.len() < found) {
                best = Some(encoded);
            }
            // All that is not zero, or as near as can be asked for.
            if fits && (found < count || bytes + bytes / 200 >= budget) || next == count {
                break;
            }
            count = next;
        }
        Ok(best.unwrap_or_else(|| self.write(layout, Vec::new())))
    }

    /// Entries of log2(len / count) + 1.5 + `value_bits` bits that fit.
    fn first_guess(&self, len: usize, budget: usize) -> usize {
        let (len, bits) = (len as f64, 8.0 * budget.saturating_sub(30) as f64);
        let mut count = bits / 12.0;
        for _ in 0..4 {
            let positions = (len / count.max(1.0)).log2().max(0.0);
            count = bits / (positions + 1.5 + f64::from(self.value_bits));
        }
        (count as usize).clamp(1, (len as usize).max(1))
    }
}
