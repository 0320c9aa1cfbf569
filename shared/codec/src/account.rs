//! How far a message is from the limit.
//!
//! Sending k of n positions costs at least log2 C(n, k) bits when every choice is equally likely. Real masks are not uniform:
//! tensors differ in density, and who knows the number of entries of each needs only the sum of log2 C(n, k) over the tensors. So
//! a ratio to the first limit may be below one, a ratio to the second hardly.

use params::Layout;

/// One update's size against its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Account {
    /// Values of the layout.
    pub values: usize,
    /// Entries sent.
    pub entries: usize,
    /// Bytes of the whole message.
    pub bytes: usize,
    /// Sum over the tensors of log2 C(values, entries), in bits.
    pub tensor_mask_bits: f64,
    /// Empirical entropy of the values sent, sign included, in bits per entry (Shannon 1948). Values of classes with levels of
    /// their own count as different, which tells of the class too.
    pub value_entropy: f64,
}

impl Account {
    /// The account of a message of `bytes` that holds `entries` (in order of index) over `layout`.
    pub fn of(layout: &Layout, entries: &[(u32, f32)], bytes: usize) -> Self {
        let mut rest = entries;
        let mut tensor_mask_bits = 0.0;
        for tensor in layout.tensors() {
            let end = rest.partition_point(|entry| (entry.0 as usize) < tensor.range().end);
            tensor_mask_bits += log2_binomial(tensor.len, end);
            rest = &rest[end..];
        }
        let mut values: Vec<u32> = entries.iter().map(|entry| entry.1.to_bits()).collect();
        values.sort_unstable();
        let counts: Vec<u64> = values.chunk_by(|a, b| a == b).map(|equal| equal.len() as u64).collect();
        let (values, entries, value_entropy) = (layout.len(), entries.len(), entropy(&counts));
        Self { values, entries, bytes, tensor_mask_bits, value_entropy }
    }

    /// Bits of the whole message per entry; 0 without entries.
    pub fn bits_per_entry(&self) -> f64 {
        self.per_entry(8.0 * self.bytes as f64)
    }

    /// log2 C(n, k) / k: fewest bits per entry that say which of equally likely choices is meant.
    pub fn mask_bits_per_entry(&self) -> f64 {
        self.per_entry(log2_binomial(self.values, self.entries))
    }

    /// The same when the number of entries of each tensor is known.
    pub fn tensor_mask_bits_per_entry(&self) -> f64 {
        self.per_entry(self.tensor_mask_bits)
    }

    /// Bits of the whole message over those of a uniform mask and of the entropy of the values.
    pub fn over_entropy(&self) -> f64 {
        self.over(self.mask_bits_per_entry())
    }

    /// Bits of the whole message over those of a mask whose density in each tensor is known and of the entropy of the values.
    pub fn over_tensor_entropy(&self) -> f64 {
        self.over(self.tensor_mask_bits_per_entry())
    }

    /// Dense f32 bytes over bytes.
    pub fn ratio(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { 4.0 * self.values as f64 / self.bytes as f64 }
    }

    fn per_entry(&self, bits: f64) -> f64 {
        if self.entries == 0 { 0.0 } else { bits / self.entries as f64 }
    }

    fn over(&self, mask_bits: f64) -> f64 {
        let limit = mask_bits + self.value_entropy;
        if limit > 0.0 { self.bits_per_entry() / limit } else { 0.0 }
    }
}

/// log2 of the number of ways to choose `k` of `n`; `k` is at most `n`.
pub fn log2_binomial(n: usize, k: usize) -> f64 {
    debug_assert!(k <= n);
    let ln_factorial = |m: usize| ln_gamma(m as f64 + 1.0);
    (ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)) / std::f64::consts::LN_2
}

/// Empirical entropy of `counts` (how often each symbol occurs) in bits per symbol (Shannon 1948).
pub fn entropy(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let share = |&count: &u64| count as f64 / total as f64;
    counts.iter().filter(|&&count| count > 0).map(share).map(|p| -p * p.log2()).sum()
}

/// ln Gamma(x) for x >= 1 to about 1e-10: Stirling's series at x + 8, taken back by the recurrence.
fn ln_gamma(x: f64) -> f64 {
    let shift = if x < 8.0 { 8 } else { 0 };
    let product: f64 = (0..shift).map(|step| x + f64::from(step)).product();
    let z = x + f64::from(shift);
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * z * z)) / (z * z)) / z;
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_binomials_are_exact() {
        for (n, k, expected) in [(1, 0, 1.0), (5, 2, 10.0), (10, 5, 252.0), (52, 5, 2_598_960.0), (7, 7, 1.0)]
        {
            assert!((log2_binomial(n, k) - f64::log2(expected)).abs() < 1e-9, "C({n}, {k})");
        }
    }

    /// Computed with Python's math.lgamma: (lgamma(n+1) - lgamma(k+1) - lgamma(n-k+1)) / log(2) / k.
    #[test]
    fn position_limits_of_the_reference_model() {
        for (entries, expected) in [(430_000, 4.690), (43_000, 8.079), (4_300, 11.406), (430, 14.717)] {
            let bits = log2_binomial(4_300_000, entries) / entries as f64;
            assert!((bits - expected).abs() < 5e-4, "{entries}");
        }
    }

    #[test]
    fn ratios_and_entropy() {
        let layout = crate::laws::layout_of(&[100, 900]);
        let entries: Vec<(u32, f32)> =
            (0..10).map(|index| (index * 30, if index < 5 { 1.0 } else { -1.0 })).collect();
        let account = Account::of(&layout, &entries, 20);
        assert_eq!((account.bits_per_entry(), account.ratio(), account.value_entropy), (16.0, 200.0, 1.0));
        // Four of 100 and six of 900.
        let by_tensor = log2_binomial(100, 4) + log2_binomial(900, 6);
        assert!((account.tensor_mask_bits - by_tensor).abs() < 1e-9);
        assert!((account.over_entropy() - 160.0 / (log2_binomial(1000, 10) + 10.0)).abs() < 1e-9);
        assert!((account.over_tensor_entropy() - 160.0 / (by_tensor + 10.0)).abs() < 1e-9);
        let nothing = Account::of(&layout, &[], 20);
        assert_eq!((nothing.bits_per_entry(), nothing.over_entropy()), (0.0, 0.0));
        assert_eq!(entropy(&[4, 4, 0, 8]), 1.5);
        assert_eq!(entropy(&[]), 0.0);
    }
}
