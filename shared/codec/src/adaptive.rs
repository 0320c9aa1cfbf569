//! Rice codes whose parameter follows the numbers coded before: no table, and tensors of all densities and scales are coded at
//! about their own entropy.

use crate::DecodeError;
use crate::bits::{BitReader, BitWriter};

/// So many numbers decide about the next parameter at most; half of them are forgotten then.
const MEMORY: u64 = 32;
/// Numbers beyond count as this.
const COUNTED_MAX: u32 = 1 << 26;
/// Largest parameter.
const RICE_MAX: u32 = 24;

/// The mean of the last numbers. Both sides keep the same one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adaptive {
    sum: u64,
    count: u64,
}

impl Adaptive {
    /// Numbers of about this size are to come.
    pub(crate) fn expecting(mean: u32) -> Self {
        Self { sum: 4 * u64::from(mean.min(COUNTED_MAX)), count: 4 }
    }

    /// The least b with 1.5 x 2^b at least the mean: within 0.03 bits of the best one for geometric numbers.
    fn rice(&self) -> u32 {
        let ratio = (2 * self.sum).div_ceil(3 * self.count);
        (u64::BITS - ratio.saturating_sub(1).leading_zeros()).min(RICE_MAX)
    }

    fn note(&mut self, value: u32) {
        self.sum += u64::from(value.min(COUNTED_MAX));
        self.count += 1;
        if self.count == MEMORY {
            (self.sum, self.count) = (self.sum / 2, self.count / 2);
        }
    }

    pub(crate) fn put(&mut self, stream: &mut BitWriter, value: u32) {
        stream.put_rice(value, self.rice());
        self.note(value);
    }

    pub(crate) fn get(&mut self, stream: &mut BitReader<'_>) -> Result<u32, DecodeError> {
        let value = stream.get_rice(self.rice())?;
        self.note(value);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Bits a number of `values` under an adaptive code that expects `mean`.
    fn bits(values: &[u32], mean: u32) -> f64 {
        let mut stream = BitWriter::default();
        let mut code = Adaptive::expecting(mean);
        values.iter().for_each(|&value| code.put(&mut stream, value));
        let bytes = stream.finish();
        let (mut reader, mut code) = (BitReader::new(&bytes, 0), Adaptive::expecting(mean));
        values.iter().for_each(|&value| assert_eq!(code.get(&mut reader), Ok(value)));
        8.0 * bytes.len() as f64 / values.len() as f64
    }

    #[test]
    fn geometric_numbers_cost_their_entropy_within_four_percent() {
        let mut random = Random::new(5);
        for mean in [1_u64, 6, 49, 700] {
            // A place is taken with probability 1 / (mean + 1): the gaps are geometric.
            let mut gap = || (0..).find(|_| random.below(mean + 1) == 0).unwrap_or(0);
            let gaps: Vec<u32> = (0..4000).map(|_| gap()).collect();
            let p = 1.0 / (mean as f64 + 1.0);
            let entropy = -(p.log2() + (1.0 - p) / p * (1.0 - p).log2());
            let found = bits(&gaps, mean as u32);
            assert!(found < 1.04 * entropy, "mean {mean}: {found} bits, entropy {entropy}");
        }
    }

    #[test]
    fn extremes_come_back() {
        bits(&[0, u32::MAX, 0, 1, u32::MAX - 1, 1 << 26, 3], 0);
        bits(&[0; 100], u32::MAX);
    }
}
