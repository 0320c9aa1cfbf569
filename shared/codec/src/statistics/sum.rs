//! Order-independent pooling of reports: integers, not floats.
//!
//! A report's x is a whole number of sixteenths (at most 2^7) and r = e^(q/16) a table entry with 20 fractional bits (below
//! 2^32), so r + x^2 is below 2^33; with weights that total at most 2^28 the sums stay below 2^61. No order of arrival and
//! no mathematics library can change them.

use params::{Share, WEIGHT_TOTAL_MAX};
use thiserror::Error;

use super::{REPORT_MAX, Report, StatisticsLayout, UNITS, VARIANCE_MIN};

/// Fractional bits of ratios and squares.
const FRACTION_BITS: u32 = 20;
/// x^2 with x in sixteenths has 8 fractional bits.
const SQUARE_SHIFT: u32 = FRACTION_BITS - 8;
/// e^(1/16) and e^(-1/16) with [`FACTOR_BITS`] fractional bits (rounded from 60 decimal digits).
const FACTOR_BITS: u32 = 56;
const UP: u128 = 76_704_909_576_326_872;
const DOWN: u128 = 67_691_845_114_139_934;

/// e^(q/16) for q from 0 to 128, and e^(-q/16), with [`FRACTION_BITS`].
static POWERS: [[u32; REPORT_MAX as usize + 1]; 2] = [powers(UP), powers(DOWN)];

const fn powers(factor: u128) -> [u32; REPORT_MAX as usize + 1] {
    let mut table = [0; REPORT_MAX as usize + 1];
    let mut power = 1_u128 << FACTOR_BITS;
    let mut q = 0;
    while q < table.len() {
        table[q] =
            ((power + (1 << (FACTOR_BITS - FRACTION_BITS - 1))) >> (FACTOR_BITS - FRACTION_BITS)) as u32;
        power = (power * factor + (1 << (FACTOR_BITS - 1))) >> FACTOR_BITS;
        q += 1;
    }
    table
}

/// Why a report cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SumError {
    /// Made over another layout.
    #[error("expected a report of {expected} channels, found {found}")]
    Length {
        /// Channels of the report's share in this layout.
        expected: usize,
        /// Channels of the report.
        found: usize,
    },
    /// Weights would total more than `params::WEIGHT_TOTAL_MAX`.
    #[error("weights would total {found}, more than {max}")]
    Weight {
        /// Total with this report.
        found: u64,
        /// The bound.
        max: u64,
    },
}

/// A weighted sum of reports over one layout: 24 bytes per channel, whatever the number of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsSum {
    layout: StatisticsLayout,
    /// By channel, in layout order.
    sums: Vec<ChannelSum>,
    weight: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ChannelSum {
    /// Sum of w x.
    shift: i64,
    /// Sum of w (r + x^2).
    second: i64,
    /// Sum of w.
    weight: u64,
}

impl StatisticsSum {
    /// An empty sum.
    pub fn new(layout: StatisticsLayout) -> Self {
        let sums = vec![ChannelSum::default(); layout.len() / 2];
        Self { layout, sums, weight: 0 }
    }

    /// Total weight added so far.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Adds one report with `weight` (images behind it, capped by the caller).
    ///
    /// # Errors
    /// Leaves the sum untouched when the length or the total weight does not fit.
    pub fn add(&mut self, report: &Report, weight: u32) -> Result<(), SumError> {
        let expected = self.layout.channels(report.share).count();
        if report.values.len() != expected {
            return Err(SumError::Length { expected, found: report.values.len() });
        }
        let total = self.weight + u64::from(weight);
        if total > WEIGHT_TOTAL_MAX {
            return Err(SumError::Weight { found: total, max: WEIGHT_TOTAL_MAX });
        }
        self.weight = total;
        let weight = i64::from(weight);
        let (first, stride) = (report.share.part().into(), report.share.of().into());
        for (sum, &[x, q]) in self.sums.iter_mut().skip(first).step_by(stride).zip(&report.values) {
            let x = i64::from(x);
            let ratio = POWERS[usize::from(q < 0)][usize::from(q.unsigned_abs())];
            sum.shift += weight * x;
            sum.second += weight * (i64::from(ratio) + ((x * x) << SQUARE_SHIFT));
            sum.weight += weight as u64;
        }
        Ok(())
    }

    /// The pooled statistics, given the published ones the reports are relative to (layout order); those on channels nobody
    /// reported.
    ///
    /// # Panics
    /// If `published` is not as long as the layout.
    pub fn pooled(&self, published: &[f32]) -> Vec<f32> {
        let mut pooled = published.to_vec();
        for ((mean, var), sum) in self.layout.channels(Share::ALL).zip(&self.sums) {
            if sum.weight > 0 {
                let variance = f64::from(published[var]).max(VARIANCE_MIN);
                let shift = sum.shift as f64 / (sum.weight as f64 * UNITS);
                pooled[mean] = (f64::from(published[mean]) + variance.sqrt() * shift) as f32;
                pooled[var] = (variance * sum.ratio()).max(VARIANCE_MIN) as f32;
            }
        }
        pooled
    }
}

impl ChannelSum {
    /// E[r + x^2] - E[x]^2, the difference taken exactly: (W sum w (r + x^2) - (sum w x)^2) / W^2.
    fn ratio(self) -> f64 {
        let (x, second) = (i128::from(self.shift), i128::from(self.second));
        let exact = i128::from(self.weight) * second - ((x * x) << SQUARE_SHIFT);
        exact as f64 / (self.weight as f64 * self.weight as f64 * f64::from(1_u32 << FRACTION_BITS))
    }
}
