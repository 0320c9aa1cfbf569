//! From one version to another: the ticks and the statistics that differ, entropy-coded; applied, they give the other version bit for
//! bit.
//!
//! Everything is an integer, so the deltas of consecutive versions can be added up ([`Delta::then`]) and the sum leads where the
//! chain leads. FORMAT.md has the bytes and the reasons.

use std::convert::Infallible;

use params::{Canonical, Digest};

use crate::error::DecodeError;
use crate::statistics::StatisticsLayout;
use crate::statistics::codes::{codes, values};

mod stream;

use stream::{Outline, Reading, Writing, differences};

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
        let weights = differences(from.0.ticks(), to.0.ticks()).collect();
        let statistics = differences(&codes(layout, from.1), &codes(layout, to.1)).collect();
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

    /// What leads back.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        let entries = self.weights.iter_mut().chain(&mut self.statistics);
        entries.for_each(|(_, difference)| *difference = difference.wrapping_neg());
        self
    }

    /// Encodes it; `model` is any version of the run, for its layout and steps.
    pub fn encode(&self, heading: &Heading, model: &Canonical, statistics_len: usize) -> Vec<u8> {
        let mut outline = Outline::of(model);
        self.weights.iter().for_each(|&entry| outline.note(entry));
        let mut writing = Writing::begin(heading, model, outline, &self.statistics, statistics_len);
        self.weights.iter().for_each(|&entry| writing.put(entry));
        writing.finish(&self.statistics)
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
        let mut reading = Reading::begin(model, statistics_len, bytes)?;
        let mut weights = Vec::with_capacity(reading.left());
        while let Some(entry) = reading.next()? {
            weights.push(entry);
        }
        let (heading, statistics) = reading.finish()?;
        Ok((heading, Self { weights, statistics }))
    }
}

/// As [`Delta::between`] and then [`Delta::encode`], in no more memory than the bytes take.
///
/// # Panics
/// If there are not as many statistics as the layout has.
pub fn encode_between(
    heading: &Heading,
    layout: &StatisticsLayout,
    from: (&Canonical, &[f32]),
    to: (&Canonical, &[f32]),
) -> Vec<u8> {
    debug_assert_eq!((from.0.layout(), from.0.grid()), (to.0.layout(), to.0.grid()));
    encode_moves(heading, layout, || differences(from.0.ticks(), to.0.ticks()), from.1, to)
}

/// As [`encode_between`], where it is known how the weights have moved: strictly increasing indices, none with zero.
///
/// # Panics
/// If there are not as many statistics as the layout has.
pub fn encode_moves<I: Iterator<Item = (u32, i32)>>(
    heading: &Heading,
    layout: &StatisticsLayout,
    weights: impl Fn() -> I,
    from_statistics: &[f32],
    to: (&Canonical, &[f32]),
) -> Vec<u8> {
    let statistics: Vec<_> = differences(&codes(layout, from_statistics), &codes(layout, to.1)).collect();
    let mut outline = Outline::of(to.0);
    weights().for_each(|entry| outline.note(entry));
    let mut writing = Writing::begin(heading, to.0, outline, &statistics, layout.len());
    weights().for_each(|entry| writing.put(entry));
    writing.finish(&statistics)
}

/// The bytes of [`Delta::then`] from those of both, of which the later one starts where the earlier one leads, in no more memory than
/// the bytes take.
///
/// # Errors
/// Bytes that are no deltas of the run that `model` is a version of.
pub fn encode_sum(
    model: &Canonical,
    statistics_len: usize,
    earlier: &[u8],
    later: &[u8],
) -> Result<(Heading, Vec<u8>), DecodeError> {
    let mut outline = Outline::of(model);
    let (heading, statistics) =
        each_of_sum(model, statistics_len, earlier, later, &mut |entry| outline.note(entry))?;
    let mut writing = Writing::begin(&heading, model, outline, &statistics, statistics_len);
    each_of_sum(model, statistics_len, earlier, later, &mut |entry| writing.put(entry))?;
    Ok((heading, writing.finish(&statistics)))
}

/// Goes through the weights of a sum; its heading and statistics.
fn each_of_sum(
    model: &Canonical,
    statistics_len: usize,
    earlier: &[u8],
    later: &[u8],
    visit: &mut dyn FnMut((u32, i32)),
) -> Result<(Heading, Vec<(u32, i32)>), DecodeError> {
    let mut one = Reading::begin(model, statistics_len, earlier)?;
    let mut other = Reading::begin(model, statistics_len, later)?;
    merge(&mut || one.next(), &mut || other.next(), visit)?;
    let ((first, one), (last, other)) = (one.finish()?, other.finish()?);
    let heading = Heading { from: first.from, base: first.base, ..last };
    Ok((heading, sum(&one, &other)))
}

/// The sum of both, without zeros.
fn sum(one: &[(u32, i32)], other: &[(u32, i32)]) -> Vec<(u32, i32)> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().copied(), other.iter().copied());
    let merged =
        merge::<Infallible>(&mut || Ok(one.next()), &mut || Ok(other.next()), &mut |entry| all.push(entry));
    let Ok(()) = merged;
    all
}

/// Entries one by one, in order of index.
type Next<'a, E> = &'a mut dyn FnMut() -> Result<Option<(u32, i32)>, E>;

/// Goes through the sum of both, without zeros.
fn merge<E>(one: Next<'_, E>, other: Next<'_, E>, visit: &mut dyn FnMut((u32, i32))) -> Result<(), E> {
    let (mut a, mut b) = (one()?, other()?);
    loop {
        let (index, difference) = match (a, b) {
            (Some((first, x)), Some((second, y))) if first == second => {
                (a, b) = (one()?, other()?);
                (first, x.wrapping_add(y))
            }
            (Some(entry), Some((second, _))) if entry.0 < second => {
                a = one()?;
                entry
            }
            (Some(entry), None) => {
                a = one()?;
                entry
            }
            (_, Some(entry)) => {
                b = other()?;
                entry
            }
            (None, None) => return Ok(()),
        };
        if difference != 0 {
            visit((index, difference));
        }
    }
}

#[cfg(test)]
mod tests;
