//! Entries of a delta as they are written and read, one by one.

use params::{Canonical, Tensor};

use super::Heading;
use crate::adaptive::Adaptive;
use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, Rule};
use crate::frame::{open, put_varint, seal};

/// First byte: differences between versions.
const KIND: u8 = 0x51;
/// Bits of an explicit shift.
const SHIFT_BITS: u32 = 5;
/// Largest shift.
const SHIFT_MAX: u32 = 31;
/// Bits of an entry at least: gap, sign, multiple.
const ENTRY_BITS_MIN: u64 = 3;

/// What differs, with its index.
pub(super) fn differences(from: &[i32], to: &[i32]) -> impl Iterator<Item = (u32, i32)> {
    let pairs = (0..).zip(from.iter().zip(to));
    pairs.filter(|(_, (from, to))| from != to).map(|(index, (from, to))| (index, to.wrapping_sub(*from)))
}

/// What has to be known of all weights that differ before the first is written.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    tensors: &'a [Tensor],
    /// The tensor of the last entry.
    tensor: usize,
    count: usize,
    /// For each tensor, the bits that any of its differences has.
    seen: Vec<u32>,
}

impl<'a> Outline<'a> {
    /// Of nothing yet.
    pub(super) fn of(model: &'a Canonical) -> Self {
        let tensors = model.layout().tensors();
        Self { tensors, tensor: 0, count: 0, seen: vec![0; tensors.len()] }
    }

    /// Entries come in order of index.
    pub(super) fn note(&mut self, (index, difference): (u32, i32)) {
        while index as usize >= self.tensors[self.tensor].range().end {
            self.tensor += 1;
        }
        self.count += 1;
        self.seen[self.tensor] |= difference as u32;
    }
}

/// A delta that is being written.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    stream: BitWriter,
    tensors: &'a [Tensor],
    tensor: usize,
    shifts: Vec<u32>,
    entries: Entries,
    statistics_shift: u32,
    statistics_len: usize,
}

impl<'a> Writing<'a> {
    /// Everything before the first weight; `model` is any version of the run.
    pub(super) fn begin(
        heading: &Heading,
        model: &'a Canonical,
        outline: Outline<'_>,
        statistics: &[(u32, i32)],
        statistics_len: usize,
    ) -> Self {
        let len = model.layout().len();
        let mut bytes = vec![KIND];
        let numbers = [heading.from, heading.to, len as u32, statistics_len as u32];
        numbers.into_iter().for_each(|number| put_varint(&mut bytes, number));
        bytes.extend([heading.base, heading.result].as_flattened());
        put_varint(&mut bytes, outline.count as u32);
        put_varint(&mut bytes, statistics.len() as u32);
        let statistics_shift =
            common_shift(statistics.iter().fold(0, |seen, entry| seen | entry.1 as u32)).unwrap_or(0);
        bytes.push(statistics_shift as u8);

        let mut stream = BitWriter::after(bytes);
        let mut shifts = Vec::with_capacity(outline.seen.len());
        let mut steps = Steps::default();
        for (&seen, exponent) in outline.seen.iter().zip(model.grid().exponents()) {
            let predicted = steps.predict(*exponent);
            let shift = common_shift(seen).unwrap_or(predicted);
            stream.put(u32::from(shift != predicted), 1);
            if shift != predicted {
                stream.put(shift, SHIFT_BITS);
                steps.note(shift, *exponent);
            }
            shifts.push(shift);
        }
        let (tensors, entries) = (model.layout().tensors(), Entries::of(outline.count, len));
        Self { stream, tensors, tensor: 0, shifts, entries, statistics_shift, statistics_len }
    }

    /// Weights come in order of index, and are those of the outline.
    pub(super) fn put(&mut self, entry: (u32, i32)) {
        while entry.0 as usize >= self.tensors[self.tensor].range().end {
            self.tensor += 1;
        }
        self.entries.put(&mut self.stream, entry, self.shifts[self.tensor]);
    }

    /// The bytes; `statistics` are those it began with.
    pub(super) fn finish(mut self, statistics: &[(u32, i32)]) -> Vec<u8> {
        let mut entries = Entries::of(statistics.len(), self.statistics_len);
        statistics.iter().for_each(|&entry| entries.put(&mut self.stream, entry, self.statistics_shift));
        seal(self.stream.finish())
    }
}

/// A delta that is being read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    heading: Heading,
    stream: BitReader<'a>,
    tensors: &'a [Tensor],
    tensor: usize,
    /// Of each tensor, and whether it was given.
    shifts: Vec<(u32, bool)>,
    /// Bits that any multiple of the tensor has.
    seen: u32,
    entries: Entries,
    left: usize,
    statistics: (usize, u32),
    statistics_len: usize,
}

impl<'a> Reading<'a> {
    /// Reads what comes before the first weight.
    pub(super) fn begin(
        model: &'a Canonical,
        statistics_len: usize,
        bytes: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let mut reader = open(bytes)?;
        let kind = reader.u8()?;
        if kind != KIND {
            return Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "kind", found: kind } });
        }
        let (from, to) = (reader.varint()?, reader.varint()?);
        let len = model.layout().len();
        reader.expect("number of values", len)?;
        reader.expect("number of statistics", statistics_len)?;
        let heading = Heading { from, to, base: reader.array()?, result: reader.array()? };
        let left = reader.bounded("number of weights", 0, len)?;
        let statistics = reader.bounded("number of changed statistics", 0, statistics_len)?;
        let statistics_shift = u32::from(reader.byte("step of statistics", 0, SHIFT_MAX as u8)?);
        // Nothing is allocated for entries that the bytes cannot hold.
        if (left as u64 + statistics as u64) * ENTRY_BITS_MIN > 8 * reader.remaining() as u64 {
            return Err(reader.error(Rule::Truncated));
        }
        let start = reader.offset();
        let mut stream = BitReader::new(reader.rest(), start);
        let tensors = model.layout().tensors();
        let mut shifts = Vec::with_capacity(tensors.len());
        let mut steps = Steps::default();
        for exponent in model.grid().exponents() {
            let predicted = steps.predict(*exponent);
            let explicit = stream.get(1)? == 1;
            let shift = if explicit { stream.get(SHIFT_BITS)? } else { predicted };
            if explicit {
                if shift == predicted {
                    return Err(stream.error(Rule::Form { what: "the step of a tensor" }));
                }
                steps.note(shift, *exponent);
            }
            shifts.push((shift, explicit));
        }
        let (entries, statistics) = (Entries::of(left, len), (statistics, statistics_shift));
        Ok(Self {
            heading,
            stream,
            tensors,
            tensor: 0,
            shifts,
            seen: 0,
            entries,
            left,
            statistics,
            statistics_len,
        })
    }

    /// Weights that are to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The next weight; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<(u32, i32)>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let index = self.entries.index(&mut self.stream)?;
        while index as usize >= self.tensors[self.tensor].range().end {
            self.leave_tensor()?;
        }
        let shift = self.shifts[self.tensor].0;
        let (multiple, ticks) = self.entries.difference(&mut self.stream, shift)?;
        self.seen |= multiple;
        Ok(Some((index, ticks)))
    }

    fn leave_tensor(&mut self) -> Result<(), DecodeError> {
        check_step(&self.stream, self.shifts[self.tensor].1, self.seen)?;
        (self.tensor, self.seen) = (self.tensor + 1, 0);
        Ok(())
    }

    /// Reads what comes after the last weight: where the delta leads, and the statistics that differ.
    pub(super) fn finish(mut self) -> Result<(Heading, Vec<(u32, i32)>), DecodeError> {
        while self.next()?.is_some() {}
        while self.tensor < self.tensors.len() {
            self.leave_tensor()?;
        }
        let ((count, shift), mut stream) = (self.statistics, self.stream);
        let mut entries = Entries::of(count, self.statistics_len);
        let mut statistics = Vec::with_capacity(count);
        let mut seen = 0;
        for _ in 0..count {
            let index = entries.index(&mut stream)?;
            let (multiple, change) = entries.difference(&mut stream, shift)?;
            seen |= multiple;
            statistics.push((index, change));
        }
        check_step(&stream, shift > 0, seen)?;
        stream.end()?;
        Ok((self.heading, statistics))
    }
}

/// The step of some entries is the coarsest one: with entries, some multiple is odd; without, it is not given.
fn check_step(stream: &BitReader<'_>, explicit: bool, seen: u32) -> Result<(), DecodeError> {
    let coarsest = if seen == 0 { !explicit } else { seen & 1 == 1 };
    if coarsest { Ok(()) } else { Err(stream.error(Rule::Form { what: "the step of a tensor" })) }
}

/// How many low bits are zero in all differences, of which these are the bits that any has; `None` without one.
fn common_shift(seen: u32) -> Option<u32> {
    (seen != 0).then(|| seen.trailing_zeros())
}

/// Steps of tensors: most have the same one in real units, whatever their grids.
#[derive(Debug, Default)]
struct Steps {
    /// Exponent of the last step that was given.
    exponent: i32,
}

impl Steps {
    /// The shift that gives the same step on a grid with this exponent, as far as there is one.
    fn predict(&self, grid: i8) -> u32 {
        (self.exponent - i32::from(grid)).clamp(0, SHIFT_MAX as i32) as u32
    }

    fn note(&mut self, shift: u32, grid: i8) {
        self.exponent = shift as i32 + i32::from(grid);
    }
}

/// Entries in order of index: the gap to the one before, the sign, the multiple of the step less one.
#[derive(Debug)]
struct Entries {
    next: u32,
    end: usize,
    gaps: Adaptive,
    multiples: Adaptive,
}

impl Entries {
    /// So many are to come among `len` places.
    fn of(count: usize, len: usize) -> Self {
        let gap = (len - count) / count.max(1);
        Self { next: 0, end: len, gaps: Adaptive::expecting(gap as u32), multiples: Adaptive::expecting(1) }
    }

    fn put(&mut self, stream: &mut BitWriter, (index, difference): (u32, i32), shift: u32) {
        self.gaps.put(stream, index - self.next);
        self.next = index + 1;
        stream.put(u32::from(difference < 0), 1);
        self.multiples.put(stream, (difference.unsigned_abs() >> shift) - 1);
    }

    fn index(&mut self, stream: &mut BitReader<'_>) -> Result<u32, DecodeError> {
        let index = u64::from(self.next) + u64::from(self.gaps.get(stream)?);
        if index >= self.end as u64 {
            let max = (self.end as u64).saturating_sub(1);
            return Err(stream.error(Rule::Range { what: "index", found: index, min: 0, max }));
        }
        self.next = index as u32 + 1;
        Ok(index as u32)
    }

    /// The multiple and the difference.
    fn difference(&mut self, stream: &mut BitReader<'_>, shift: u32) -> Result<(u32, i32), DecodeError> {
        let negative = stream.get(1)? == 1;
        let multiple = u64::from(self.multiples.get(stream)?) + 1;
        let magnitude = multiple << shift;
        // The least i32 has no counterpart.
        let max = i32::MAX as u64 + u64::from(negative);
        if magnitude > max {
            let rule = Rule::Range { what: "difference", found: magnitude, min: 1, max };
            return Err(stream.error(rule));
        }
        let magnitude = magnitude as i64;
        Ok((multiple as u32, (if negative { -magnitude } else { magnitude }) as i32))
    }
}
