//! Batch-norm statistics: what a device says of its data, and how the data of all are pooled.
//!
//! Statistics are state of the data, not weights: averaging variances would lose the spread between devices. A report gives, per
//! channel and relative to the published (mean, var), the shift x = (mean_i - mean) / sqrt(var) and the logarithm of
//! r = var_i / var, in multiples of one step. Pooling follows the law of total variance: mean + sqrt(var) * E[x], and
//! var * (E[r + x^2] - E[x]^2). As reports are relative to what is published, quantisation errors do not accumulate:
//! first reports are coarse, and the step gets finer as the statistics settle.
//!
//! From one version to the next the statistics of all devices move together, by far more than devices differ from each other.
//! So devices share the work: each reports the channels of its [`Share`], finely, instead of all of them coarsely.

pub mod codes;
mod sum;

use std::ops::Range;

use params::{Layout, Share};
use thiserror::Error;

use crate::bits::{BitReader, BitWriter, rice_bits};
use crate::error::{DecodeError, EncodeError, Rule};
use crate::frame::{open, put_varint, seal};

pub use sum::{StatisticsSum, SumError};

/// First byte of a report.
const KIND: u8 = 0x40;
/// Reports are in sixteenths: of a standard deviation, or of a factor e.
const UNITS: f64 = 16.0;
/// Largest report, in sixteenths: 8 standard deviations, a factor e^8. What is beyond follows in the next report.
const REPORT_MAX: i16 = 128;
/// Coarsest step is 2^7 sixteenths.
const SHIFT_MAX: u8 = 7;
/// Variances below are taken as this.
const VARIANCE_MIN: f64 = 1e-10;
/// Rice parameters of gaps and of magnitudes.
const GAP_RICE_MAX: u8 = 20;
const MAGNITUDE_RICE_MAX: u8 = 7;

/// Bytes a report of this share may take by default: 0.12 % of the dense shared values, more where few devices share the
/// channels (0.48 % together), at least 64.
pub fn default_budget(shared_len: usize, share: Share) -> usize {
    let ten_thousandths = (48 / usize::from(share.of())).max(12);
    (4 * shared_len * ten_thousandths / 10_000).max(64)
}

/// Which statistics belong together: pairs `<x>.mean`, `<x>.var` of equal length, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsLayout {
    pairs: Vec<Pair>,
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    mean: Range<usize>,
    var: Range<usize>,
}

/// A layout of statistics that does not consist of pairs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("statistics come in pairs <x>.mean, <x>.var of one length; found {found} where a pair should begin")]
pub struct StatisticsLayoutError {
    found: String,
}

impl StatisticsLayout {
    /// Finds the pairs of a layout of scope `Statistic` (as `Layout::of_scope` gives it).
    ///
    /// # Errors
    /// Another order, a missing partner, unequal lengths.
    pub fn new(layout: &Layout) -> Result<Self, StatisticsLayoutError> {
        let mut pairs = Vec::new();
        for tensors in layout.tensors().chunks(2) {
            let stem = tensors[0].spec.name.strip_suffix(".mean");
            match tensors {
                [mean, var]
                    if stem.is_some()
                        && stem == var.spec.name.strip_suffix(".var")
                        && mean.len == var.len =>
                {
                    pairs.push(Pair { mean: mean.range(), var: var.range() });
                }
                _ => return Err(StatisticsLayoutError { found: tensors[0].spec.name.clone() }),
            }
        }
        Ok(Self { pairs, len: layout.len() })
    }

    /// Number of statistics: two per channel.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All channels, each as the places of its mean and its variance, in layout order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pairs.iter().flat_map(|pair| pair.mean.clone().zip(pair.var.clone()))
    }

    /// The channels of a share.
    fn channels(&self, share: Share) -> impl Iterator<Item = (usize, usize)> {
        self.all().skip(share.part().into()).step_by(share.of().into())
    }
}

/// One device's statistics relative to the published ones, in sixteenths: (shift, logarithm of the ratio) of each channel of
/// its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    share: Share,
    values: Vec<[i16; 2]>,
}

/// Compares `own` statistics with the `published` ones and encodes the difference on the channels of `share`, rounded to the
/// finest step whose encoding fits `budget` bytes (or to the coarsest).
///
/// # Errors
/// Wrong lengths, or values that are not finite.
pub fn encode_report(
    layout: &StatisticsLayout,
    published: &[f32],
    own: &[f32],
    share: Share,
    budget: usize,
) -> Result<Vec<u8>, EncodeError> {
    for values in [published, own] {
        if values.len() != layout.len {
            let (expected, found) = (layout.len, values.len());
            return Err(EncodeError::Length { what: "statistics", expected, found });
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            let value = values[position].to_string();
            return Err(EncodeError::Value { tensor: "statistics".into(), position, value });
        }
    }
    let exact = exact_report(layout, published, own, share);
    let mut coded = Coded::new(&exact, 0);
    while coded.bytes_max() > budget && coded.shift < SHIFT_MAX {
        coded = Coded::new(&exact, coded.shift + 1);
    }
    Ok(coded.encode(layout.len, share))
}

impl Report {
    /// Decodes a report.
    ///
    /// # Errors
    /// Names the offset and the rule that is broken.
    pub fn decode(layout: &StatisticsLayout, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes)?;
        let kind = reader.u8()?;
        if kind != KIND {
            return Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "kind", found: kind } });
        }
        reader.expect("number of statistics", layout.len)?;
        let of = reader.byte("number of shares", 1, Share::OF_MAX)?;
        let share = Share::new(reader.byte("share", 0, of - 1)?, of);
        let reported = 2 * layout.channels(share).count();
        let shift = reader.byte("step", 0, SHIFT_MAX)?;
        let gap_rice = reader.byte("Rice parameter", 0, GAP_RICE_MAX)?.into();
        let magnitude_rice = reader.byte("Rice parameter", 0, MAGNITUDE_RICE_MAX)?.into();
        let count = reader.bounded("entries", 0, reported)?;
        if count as u64 * u64::from(3 + gap_rice + magnitude_rice) > 8 * reader.remaining() as u64 {
            return Err(reader.error(Rule::Truncated));
        }
        let start = reader.offset();
        let mut stream = BitReader::new(reader.rest(), start);
        let mut values = vec![[0; 2]; reported / 2];
        let flat = values.as_flattened_mut();
        let mut next = 0;
        for _ in 0..count {
            let index = next + stream.get_rice(gap_rice)? as usize;
            let Some(value) = flat.get_mut(index) else {
                let (found, max) = (index as u64, (reported as u64).saturating_sub(1));
                return Err(stream.error(Rule::Range { what: "index", found, min: 0, max }));
            };
            next = index + 1;
            let negative = stream.get(1)? == 1;
            let (steps, max) = (stream.get_rice(magnitude_rice)?, (REPORT_MAX >> shift) as u32 - 1);
            if steps > max {
                let rule = Rule::Range { what: "difference", found: steps.into(), min: 0, max: max.into() };
                return Err(stream.error(rule));
            }
            let magnitude = (steps as i16 + 1) << shift;
            *value = if negative { -magnitude } else { magnitude };
        }
        stream.end()?;
        Ok(Self { share, values })
    }

    /// The channels this report is about.
    pub fn share(&self) -> Share {
        self.share
    }
}

/// Differences in sixteenths, not rounded: of each channel its shift in standard deviations, then the logarithm of the ratio
/// of variances.
fn exact_report(layout: &StatisticsLayout, published: &[f32], own: &[f32], share: Share) -> Vec<f32> {
    let variance = |value: f32| f64::from(value).max(VARIANCE_MIN);
    let difference = |(mean, var): (usize, usize)| {
        let shift = f64::from(own[mean]) - f64::from(published[mean]);
        let ratio = variance(own[var]) / variance(published[var]);
        [(UNITS * shift / variance(published[var]).sqrt()) as f32, (UNITS * ratio.ln()) as f32]
    };
    layout.channels(share).flat_map(difference).collect()
}

/// A report at one step, ready to be measured and written: most entries are zero in a settled run, so the others are
/// listed with the gaps between them.
struct Coded {
    shift: u8,
    /// (values skipped, whether negative, steps less one).
    entries: Vec<(u32, bool, u32)>,
    gap_rice: u32,
    magnitude_rice: u32,
    bits: u64,
}

impl Coded {
    fn new(exact: &[f32], shift: u8) -> Self {
        let step = f32::from(1_i16 << shift);
        let most = f32::from(REPORT_MAX >> shift);
        let mut entries = Vec::new();
        let mut skipped = 0;
        for &value in exact {
            let steps = (value / step).round().clamp(-most, most);
            if steps == 0.0 {
                skipped += 1;
            } else {
                entries.push((skipped, steps < 0.0, steps.abs() as u32 - 1));
                skipped = 0;
            }
        }
        let best = |max: u8, number: fn(&(u32, bool, u32)) -> u32| {
            let bits =
                |rice| entries.iter().map(|entry| u64::from(rice_bits(number(entry), rice))).sum::<u64>();
            let all = (0..=u32::from(max)).map(|rice| (bits(rice), rice));
            all.min().unwrap_or_default()
        };
        let (gap_bits, gap_rice) = best(GAP_RICE_MAX, |&(gap, ..)| gap);
        let (magnitude_bits, magnitude_rice) = best(MAGNITUDE_RICE_MAX, |&(_, _, steps)| steps);
        let bits = gap_bits + magnitude_bits + entries.len() as u64;
        Self { shift, entries, gap_rice, magnitude_rice, bits }
    }

    /// Size of the encoding, with room for the longest header and the checksum.
    fn bytes_max(&self) -> usize {
        const AROUND: usize = 6 + 2 * 5 + 4;
        AROUND + self.bits.div_ceil(8) as usize
    }

    fn encode(&self, len: usize, share: Share) -> Vec<u8> {
        let mut bytes = vec![KIND];
        put_varint(&mut bytes, len as u32);
        bytes.extend([share.of(), share.part(), self.shift, self.gap_rice as u8, self.magnitude_rice as u8]);
        put_varint(&mut bytes, self.entries.len() as u32);
        let mut stream = BitWriter::after(bytes);
        for &(gap, negative, steps) in &self.entries {
            stream.put_rice(gap, self.gap_rice);
            stream.put(negative.into(), 1);
            stream.put_rice(steps, self.magnitude_rice);
        }
        seal(stream.finish())
    }
}

#[cfg(test)]
mod tests;
