//! From one version to another: the ticks and the statistics that differ, entropy-coded; applied, they give the other version bit for
//! bit.
//!
//! Everything is an integer, so the deltas of consecutive versions can be added up ([`Delta::then`]) and the sum leads where the
//! chain leads. FORMAT.md has the bytes and the reasons.

use params::{Canonical, Digest, Layout};

use crate::adaptive::Adaptive;
use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, Rule};
use crate::frame::{open, put_varint, seal};
use crate::statistics::StatisticsLayout;
use crate::statistics::codes::{codes, values};

/// First byte: differences between versions.
const KIND: u8 = 0x51;
/// Bits of an explicit shift.
const SHIFT_BITS: u32 = 5;
/// Largest shift.
const SHIFT_MAX: u32 = 31;

/// Names a version with its statistics: the first eight bytes of a digest over both.
pub type Content = [u8; 8];

/// The name of a version's contents.
pub fn content(model: &Digest, statistics: &[f32]) -> Content {
    let bytes: Vec<u8> = statistics.iter().flat_map(|value| value.to_le_bytes()).collect();
    Digest::of(&[b"fovea contents 1\n", &model.0, &bytes]).short()
}

/// From where to where a delta leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Number of the version it is applied to.
    pub from: u32,
    /// Number of the version it gives.
    pub to: u32,
    /// What it is applied to.
    pub base: Content,
    /// What it gives.
    pub result: Content,
}

/// The difference of two versions of one run: strictly increasing indices, none with zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Shared weights, in ticks.
    weights: Vec<(u32, i32)>,
    /// Statistics, in their codes.
    statistics: Vec<(u32, i32)>,
}

impl Delta {
    /// What leads from one model and its statistics to another, which has the same layout and steps.
    ///
    /// # Panics
    /// If there are not as many statistics as the layout has.
    pub fn between(layout: &StatisticsLayout, from: (&Canonical, &[f32]), to: (&Canonical, &[f32])) -> Self {
        debug_assert_eq!((from.0.layout(), from.0.grid()), (to.0.layout(), to.0.grid()));
        let weights = differences(from.0.ticks(), to.0.ticks());
        let statistics = differences(&codes(layout, from.1), &codes(layout, to.1));
        Self { weights, statistics }
    }

    /// Both one after the other.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        let weights = sum(&self.weights, &later.weights);
        Self { weights, statistics: sum(&self.statistics, &later.statistics) }
    }

    /// Weights and statistics that differ.
    pub fn counts(&self) -> (usize, usize) {
        (self.weights.len(), self.statistics.len())
    }

    /// Takes a version to the next one, in place.
    ///
    /// # Panics
    /// If there are not as many statistics as the layout has.
    pub fn apply(&self, layout: &StatisticsLayout, model: &mut Canonical, statistics: &mut [f32]) {
        model.move_at(&self.weights);
        if self.statistics.is_empty() {
            return;
        }
        let mut moved = codes(layout, statistics);
        for &(index, difference) in &self.statistics {
            if let Some(code) = moved.get_mut(index as usize) {
                *code = code.wrapping_add(difference);
            }
        }
        statistics.copy_from_slice(&values(layout, &moved));
    }

    /// Encodes it; `model` is any version of the run, for its layout and steps.
    pub fn encode(&self, heading: &Heading, model: &Canonical, statistics_len: usize) -> Vec<u8> {
        let mut bytes = vec![KIND];
        let numbers = [heading.from, heading.to, model.layout().len() as u32, statistics_len as u32];
        numbers.into_iter().for_each(|number| put_varint(&mut bytes, number));
        bytes.extend([heading.base, heading.result].as_flattened());
        put_varint(&mut bytes, self.weights.len() as u32);
        put_varint(&mut bytes, self.statistics.len() as u32);
        let statistics_shift = common_shift(&self.statistics);
        bytes.push(statistics_shift as u8);

        let mut stream = BitWriter::after(bytes);
        let mut shifts = Vec::new();
        let mut steps = Steps::default();
        for (entries, exponent) in by_tensor(model.layout(), &self.weights).zip(model.grid().exponents()) {
            let predicted = steps.predict(*exponent);
            let shift = if entries.is_empty() { predicted } else { common_shift(entries) };
            stream.put(u32::from(shift != predicted), 1);
            if shift != predicted {
                stream.put(shift, SHIFT_BITS);
                steps.note(shift, *exponent);
            }
            shifts.push(shift);
        }
        let mut entries = Entries::of(self.weights.len(), model.layout().len());
        for (of_tensor, &shift) in by_tensor(model.layout(), &self.weights).zip(&shifts) {
            of_tensor.iter().for_each(|&entry| entries.put(&mut stream, entry, shift));
        }
        let mut entries = Entries::of(self.statistics.len(), statistics_len);
        self.statistics.iter().for_each(|&entry| entries.put(&mut stream, entry, statistics_shift));
        seal(stream.finish())
    }

    /// Decodes one; `model` is any version of the run, for its layout and steps. Memory is at most 8 bytes per weight and statistic,
    /// and no more than the bytes can hold; time is linear in the bytes and the tensors.
    ///
    /// # Errors
    /// Names the offset and the rule that is broken.
    pub fn decode(
        model: &Canonical,
        statistics_len: usize,
        bytes: &[u8],
    ) -> Result<(Heading, Self), DecodeError> {
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
        let count = reader.bounded("number of weights", 0, len)?;
        let statistics_count = reader.bounded("number of changed statistics", 0, statistics_len)?;
        let statistics_shift = u32::from(reader.byte("step of statistics", 0, SHIFT_MAX as u8)?);
        // Nothing is allocated for entries that the bytes cannot hold.
        if (count as u64 + statistics_count as u64) * ENTRY_BITS_MIN > 8 * reader.remaining() as u64 {
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
        let mut entries = Entries::of(count, len);
        let mut weights = Vec::with_capacity(count);
        let mut tensor = 0;
        // Bits that any multiple of the tensor has.
        let mut seen = 0;
        for _ in 0..count {
            let index = entries.index(&mut stream)?;
            while index as usize >= tensors[tensor].range().end {
                check_step(&stream, shifts[tensor].1, seen)?;
                (tensor, seen) = (tensor + 1, 0);
            }
            let (multiple, ticks) = entries.difference(&mut stream, shifts[tensor].0)?;
            seen |= multiple;
            weights.push((index, ticks));
        }
        for &(_, explicit) in shifts.iter().skip(tensor) {
            check_step(&stream, explicit, seen)?;
            seen = 0;
        }
        let mut entries = Entries::of(statistics_count, statistics_len);
        let mut statistics = Vec::with_capacity(statistics_count);
        let mut seen = 0;
        for _ in 0..statistics_count {
            let index = entries.index(&mut stream)?;
            let (multiple, change) = entries.difference(&mut stream, statistics_shift)?;
            seen |= multiple;
            statistics.push((index, change));
        }
        check_step(&stream, statistics_shift > 0, seen)?;
        stream.end()?;
        Ok((heading, Self { weights, statistics }))
    }
}

/// The step of some entries is the coarsest one: with entries, some multiple is odd; without, it is not given.
fn check_step(stream: &BitReader<'_>, explicit: bool, seen: u32) -> Result<(), DecodeError> {
    let coarsest = if seen == 0 { !explicit } else { seen & 1 == 1 };
    if coarsest { Ok(()) } else { Err(stream.error(Rule::Form { what: "the step of a tensor" })) }
}

/// What differs, with its index.
fn differences(from: &[i32], to: &[i32]) -> Vec<(u32, i32)> {
    let pairs = (0..).zip(from.iter().zip(to));
    pairs
        .filter(|(_, (from, to))| from != to)
        .map(|(index, (from, to))| (index, to.wrapping_sub(*from)))
        .collect()
}

/// The sum of both, without zeros.
fn sum(one: &[(u32, i32)], other: &[(u32, i32)]) -> Vec<(u32, i32)> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
    loop {
        let entry = match (one.peek(), other.peek()) {
            (Some(&(first, a)), Some(&(second, b))) if first == second => {
                one.next();
                other.next();
                (first, a.wrapping_add(b))
            }
            (Some(&entry), Some(&(second, _))) if entry.0 < second => {
                one.next();
                entry
            }
            (Some(&entry), None) => {
                one.next();
                entry
            }
            (_, Some(&entry)) => {
                other.next();
                entry
            }
            (None, None) => return all,
        };
        if entry.1 != 0 {
            all.push(entry);
        }
    }
}

/// The entries of each tensor, in order.
fn by_tensor<'a>(layout: &'a Layout, entries: &'a [(u32, i32)]) -> impl Iterator<Item = &'a [(u32, i32)]> {
    let mut rest = entries;
    layout.tensors().iter().map(move |tensor| {
        let end = tensor.range().end;
        let of_tensor;
        (of_tensor, rest) = rest.split_at(rest.partition_point(|entry| (entry.0 as usize) < end));
        of_tensor
    })
}

/// How many low bits are zero in all entries; 0 without entries.
fn common_shift(entries: &[(u32, i32)]) -> u32 {
    let seen = entries.iter().fold(0, |seen, entry| seen | entry.1);
    if seen == 0 { 0 } else { seen.trailing_zeros() }
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

/// Bits of an entry at least: gap, sign, multiple.
const ENTRY_BITS_MIN: u64 = 3;

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

#[cfg(test)]
mod tests;
