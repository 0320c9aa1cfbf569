//! Pseudo-random numbers that both sides can draw: integers only, so that no machine differs.

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is below 2^32; to within 2^-32 each is equally likely.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }
}

/// A seed made of values: equal values give equal messages, and messages differ in what is random.
pub(crate) fn seed_of(values: &[f32]) -> u32 {
    values.chunks(64).fold(0, |seed, values| {
        let mut bytes = [0; 4 * 64];
        for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        crc32c::crc32c_append(seed, &bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of seed 0 in the reference implementation.
    #[test]
    fn the_stream_is_that_of_the_reference() {
        let mut random = Random::new(0);
        assert_eq!([random.next(), random.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
