//! How far a message is from the limit.
//!
//! Sending k of n positions costs at least log2 C(n, k) bits when every choice is equally likely. Real masks are not uniform,
//! so a ratio to this limit below one is possible.

/// One update's size against its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Account {
    /// Values of the layout.
    pub values: usize,
    /// Entries sent.
    pub entries: usize,
    /// Bytes of the whole message.
    pub bytes: usize,
}

impl Account {
    /// Bits of the whole message per entry; 0 without entries.
    pub fn bits_per_entry(&self) -> f64 {
        if self.entries == 0 { 0.0 } else { 8.0 * self.bytes as f64 / self.entries as f64 }
    }

    /// log2 C(n, k) / k: fewest bits per entry that say which of equally likely choices is meant.
    pub fn mask_bits_per_entry(&self) -> f64 {
        if self.entries == 0 { 0.0 } else { log2_binomial(self.values, self.entries) / self.entries as f64 }
    }

    /// Dense f32 bytes over bytes.
    pub fn ratio(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { 4.0 * self.values as f64 / self.bytes as f64 }
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
            let account = Account { values: 4_300_000, entries, bytes: 1 };
            assert!((account.mask_bits_per_entry() - expected).abs() < 5e-4, "{entries}");
        }
    }

    #[test]
    fn ratios_and_entropy() {
        let account = Account { values: 1000, entries: 10, bytes: 20 };
        assert_eq!((account.bits_per_entry(), account.ratio()), (16.0, 200.0));
        assert_eq!(entropy(&[4, 4, 0, 8]), 1.5);
        assert_eq!(entropy(&[]), 0.0);
    }
}
