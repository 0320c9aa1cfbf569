//! The compact form of a histogram, and its checked reading.
//!
//! ```text
//! bits, lowest first:
//! version 8 | bins 16 | threshold set 16 | gamma(classes + 1), then per class:
//!     gamma(objects + 1) | list of detections | per threshold: list of right, list of void
//! list: gamma(occupied + 1), and if any: low 4, then for each, rising: rice(empty places before it, low) gamma(count)
//! ```
//! Places of the detections are bins; places of right and void are the occupied bins of the detections. `low`
//! is chosen per list. A crowded list costs two to three bits per place, a thin one a few more per entry.

use super::bits::{BitReader, BitWriter, Malformed};
use super::{ApHistogram, Bins, ClassCounts, HistogramConfig, HistogramError, ThresholdSet};

const VERSION: u8 = 1;

/// Largest count read or written: 2^40, so that 16 million reports add without saturation.
pub const COUNT_MAX: u64 = 1 << 40;

/// Most low bits of a Rice code: a gap is below 4096.
const LOW_BITS_MAX: u32 = 12;

/// Bytes that no histogram of this shape exceeds in its compact form.
pub fn encoded_bytes_max(config: HistogramConfig, classes: usize) -> usize {
    let bins = usize::from(config.bins);
    // With low = 0 the gaps of a list take at most one bit per place and one per entry; a count takes up to 81.
    let list = 27 + 4 + 2 * bins + 81 * bins;
    let class = 81 + list * (1 + 2 * config.thresholds.indices().count());
    (40 + 129 + classes * class).div_ceil(8)
}

impl ApHistogram {
    /// The compact form; equal histograms give equal bytes. Counts above [`COUNT_MAX`] are written as that.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = BitWriter::default();
        out.bits(VERSION.into(), 8);
        out.bits(self.config.bins.into(), 16);
        out.bits(u16::from(self.config.thresholds).into(), 16);
        out.gamma(self.classes.len() as u64 + 1);
        for class in &self.classes {
            out.gamma(class.objects.min(COUNT_MAX) + 1);
            write_list(&mut out, class.detections.iter().map(|(&bin, &count)| (u64::from(bin), count)));
            for verdicts in &class.verdicts {
                for bins in [&verdicts.right, &verdicts.void] {
                    let places = class.detections.keys().enumerate();
                    let of = |(place, bin): (usize, &u16)| bins.get(bin).map(|&count| (place as u64, count));
                    write_list(&mut out, places.filter_map(of));
                }
            }
        }
        out.finish()
    }

    /// Reads the compact form of a histogram of known resolution and classes. Memory is bounded by that shape, not
    /// by what the bytes claim.
    ///
    /// # Errors
    /// Another shape, bytes that end early or late, counts that no evaluation gives.
    pub fn decode(bytes: &[u8], config: HistogramConfig, classes: usize) -> Result<Self, HistogramError> {
        let mut histogram = Self::empty(config, classes)?;
        let malformed = |_| HistogramError::Malformed { found: bytes.len() };
        let mut reader = BitReader::new(bytes);
        let version = reader.bits(8).map_err(malformed)?;
        if version != u64::from(VERSION) {
            return Err(HistogramError::Mismatch {
                what: "version",
                expected: VERSION.into(),
                found: version,
            });
        }
        let bins = reader.bits(16).map_err(malformed)? as u16;
        let thresholds = ThresholdSet::try_from(reader.bits(16).map_err(malformed)? as u16)?;
        let found_classes = reader.gamma().map_err(malformed)? - 1;
        config.expect(HistogramConfig { bins, thresholds }, classes as u64, found_classes)?;
        for (index, class) in histogram.classes.iter_mut().enumerate() {
            class.read(&mut reader, bins).map_err(malformed)?;
            class.check().map_err(|problem| HistogramError::Counts { class: index, problem })?;
        }
        if reader.at_end() { Ok(histogram) } else { Err(malformed(Malformed)) }
    }
}

impl ClassCounts {
    fn read(&mut self, reader: &mut BitReader<'_>, bins: u16) -> Result<(), Malformed> {
        self.objects = reader.gamma()? - 1;
        let all: Vec<u16> = (0..bins).collect();
        self.detections = read_list(reader, &all)?;
        let occupied: Vec<u16> = self.detections.keys().copied().collect();
        for verdicts in &mut self.verdicts {
            verdicts.right = read_list(reader, &occupied)?;
            verdicts.void = read_list(reader, &occupied)?;
        }
        Ok(())
    }

    /// Whether an evaluation could have given these counts.
    fn check(&self) -> Result<(), &'static str> {
        let counts = self.verdicts.iter().flat_map(|v| v.right.values().chain(v.void.values()));
        if counts.chain(self.detections.values()).chain([&self.objects]).any(|&count| count > COUNT_MAX) {
            return Err("a count is beyond any evaluation");
        }
        for verdicts in &self.verdicts {
            if verdicts.right.values().sum::<u64>() > self.objects {
                return Err("more right detections than objects");
            }
            for (bin, &all) in &self.detections {
                let of = |bins: &Bins| bins.get(bin).copied().unwrap_or(0);
                if of(&verdicts.right) + of(&verdicts.void) > all {
                    return Err("more verdicts than detections in a bin");
                }
            }
        }
        Ok(())
    }
}

/// Writes places, rising, with their counts.
fn write_list(out: &mut BitWriter, entries: impl Iterator<Item = (u64, u64)>) {
    let mut next = 0;
    let gap = |(place, count): (u64, u64)| {
        let gap = place - next;
        next = place + 1;
        (gap, count)
    };
    let entries: Vec<(u64, u64)> = entries.map(gap).collect();
    out.gamma(entries.len() as u64 + 1);
    if entries.is_empty() {
        return;
    }
    let bits = |low: &u32| entries.iter().map(|(gap, _)| (gap >> low) + u64::from(*low)).sum::<u64>();
    let low = (0..=LOW_BITS_MAX).min_by_key(bits).unwrap_or(0);
    out.bits(low.into(), 4);
    for (gap, count) in entries {
        out.rice(gap, low);
        out.gamma(count.min(COUNT_MAX));
    }
}

/// Reads counts at some of the given places, rising by construction.
fn read_list(reader: &mut BitReader<'_>, places: &[u16]) -> Result<Bins, Malformed> {
    let mut bins = Bins::new();
    let entries = reader.gamma()? - 1;
    if entries > places.len() as u64 {
        return Err(Malformed);
    }
    if entries == 0 {
        return Ok(bins);
    }
    let low = reader.bits(4)? as u32;
    let mut rest = places;
    for _ in 0..entries {
        let last = (rest.len() as u64).checked_sub(1).ok_or(Malformed)?;
        let gap = reader.rice(low, last)? as usize;
        bins.insert(rest[gap], reader.gamma()?);
        rest = &rest[gap + 1..];
    }
    Ok(bins)
}
