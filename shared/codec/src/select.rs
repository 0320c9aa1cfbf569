//! Which values are sent: exactly the k highest scores over all tensors, with a floor for every tensor.
//!
//! Without floors the few values of depthwise kernels and biases would starve beside large layers.

use std::borrow::Cow;
use std::ops::Range;

use params::Layout;

use crate::{EncodeError, MAGNITUDE_MAX, in_range, value_error};

/// Where the values to select from come from: given, or still to be added up.
pub(crate) trait Source {
    /// Makes the values in `range` of a tensor final and gives them.
    fn ready(&mut self, tensor: usize, range: Range<usize>) -> &[f32];

    /// What [`Self::ready`] would give, which has not been called yet for any of them.
    fn ahead(&self, tensor: usize, range: Range<usize>) -> impl Iterator<Item = f32>;

    /// Values of a tensor, once they are final.
    fn again(&self, tensor: usize, range: Range<usize>) -> Cow<'_, [f32]>;
}

impl Source for &[f32] {
    fn ready(&mut self, _: usize, range: Range<usize>) -> &[f32] {
        &self[range]
    }

    fn ahead(&self, _: usize, range: Range<usize>) -> impl Iterator<Item = f32> {
        self[range].iter().copied()
    }

    fn again(&self, _: usize, range: Range<usize>) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self[range])
    }
}

/// Values as multiples of a step a tensor; of the values themselves there are never more than one tensor's.
#[derive(Debug)]
pub(crate) struct Multiples<'a> {
    multiples: &'a [i32],
    steps: Vec<f64>,
    values: Vec<f32>,
}

impl<'a> Multiples<'a> {
    pub(crate) fn new(multiples: &'a [i32], steps: Vec<f64>) -> Self {
        Self { multiples, steps, values: Vec::new() }
    }

    fn of(&self, tensor: usize, range: Range<usize>) -> impl Iterator<Item = f32> {
        let step = self.steps[tensor];
        self.multiples[range].iter().map(move |&multiple| (f64::from(multiple) * step) as f32)
    }
}

impl Source for Multiples<'_> {
    fn ready(&mut self, tensor: usize, range: Range<usize>) -> &[f32] {
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        values.extend(self.of(tensor, range));
        self.values = values;
        &self.values
    }

    fn ahead(&self, tensor: usize, range: Range<usize>) -> impl Iterator<Item = f32> {
        self.of(tensor, range)
    }

    fn again(&self, tensor: usize, range: Range<usize>) -> Cow<'_, [f32]> {
        Cow::Owned(self.of(tensor, range).collect())
    }
}

/// By what values of different tensors compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// |x|: keeps the most of the squared norm.
    #[default]
    Magnitude,
    /// |x| over the root mean square of its tensor: every tensor sends about the same share.
    Relative,
}

impl Score {
    /// What |x| is multiplied by in a tensor with these values.
    fn weight(self, values: &[f32]) -> f32 {
        match self {
            Self::Magnitude => 1.0,
            Self::Relative => {
                let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
                let rms = (squares / values.len() as f64).sqrt();
                if rms > 0.0 { (1.0 / rms).min(1e30) as f32 } else { 0.0 }
            }
        }
    }
}

/// From this many values on, a sample first tells where the cut is about; below, all values are candidates.
const SAMPLE_MIN: usize = 1 << 15;
/// A sample takes one run of values (a cache line) out of so many.
const SAMPLE_RUN: usize = 16;
const SAMPLE_RUNS: usize = 128;
/// Values that are added up, checked and searched while they are at hand in the nearest cache.
const CHUNK: usize = 2048;

/// A value that may be sent; scores are non-negative f32 as bits, which order like integers.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    score: u32,
    index: u32,
    value: f32,
}

/// How many of `layout`'s values are sent for `density` and `floor`, and how many of each tensor at least.
pub(crate) fn shares(layout: &Layout, density: f32, floor: f32) -> (usize, Vec<usize>) {
    let part =
        |share: f32, len: usize| ((f64::from(share) * len as f64).round() as usize).clamp(1, len.max(1));
    let floors: Vec<usize> = layout.tensors().iter().map(|tensor| part(floor, tensor.len)).collect();
    let count = part(density, layout.len()).max(floors.iter().sum());
    (count, floors)
}

/// The entries to send, in order of index: the `count` highest scores over all, but of each tensor as many as `floors` says
/// (together at most `count`), if there are so many. Zeros are never sent; equal scores are taken in order of index.
///
/// # Errors
/// A value that is not finite or beyond 2^80.
pub(crate) fn select(
    layout: &Layout,
    source: &mut impl Source,
    count: usize,
    mut floors: Vec<usize>,
    score: Score,
) -> Result<Vec<(u32, f32)>, EncodeError> {
    let tensors = layout.tensors();
    let weights: Vec<f32> = match score {
        Score::Magnitude => vec![1.0; tensors.len()],
        // Weights need all values of a tensor before the first is scored.
        Score::Relative => {
            let ready = tensors.iter().enumerate();
            ready.map(|(number, tensor)| score.weight(source.ready(number, tensor.range()))).collect()
        }
    };

    let mut top = candidates(layout, source, &weights, count)?;
    keep_top(&mut top, count);
    // Tensors below their floor send their own best values and leave the competition, which raises the bar for the others
    // and may bring more of them below their floors; the set only grows, so this ends.
    let mut own: Vec<Option<Vec<Candidate>>> = vec![None; tensors.len()];
    loop {
        let counts = count_per_tensor(layout, &top);
        let mut changed = false;
        for (number, tensor) in tensors.iter().enumerate() {
            if own[number].is_some() || counts[number] >= floors[number] {
                continue;
            }
            let values = source.again(number, tensor.range());
            let best = top_of(tensor.offset, &values, weights[number], floors[number]);
            // A tensor with few values other than zero has a lower floor.
            floors[number] = best.len();
            if counts[number] < best.len() {
                own[number] = Some(best);
                changed = true;
            }
        }
        if !changed {
            break;
        }
        let taken: usize = own.iter().flatten().map(Vec::len).sum();
        retain_tensors(layout, &mut top, |number| own[number].is_none());
        keep_top(&mut top, count.saturating_sub(taken));
    }

    let mut entries = Vec::with_capacity(count);
    let mut rest = top.as_slice();
    for (tensor, own) in tensors.iter().zip(&own) {
        let end = (tensor.offset + tensor.len) as u32;
        let (mine, later) = rest.split_at(rest.partition_point(|candidate| candidate.index < end));
        let mine = own.as_deref().unwrap_or(mine);
        entries.extend(mine.iter().map(|candidate| (candidate.index, candidate.value)));
        rest = later;
    }
    Ok(entries)
}

/// At least the `count` highest scores (if there are so many above zero), in order of index. Every value is checked.
fn candidates(
    layout: &Layout,
    source: &mut impl Source,
    weights: &[f32],
    count: usize,
) -> Result<Vec<Candidate>, EncodeError> {
    let sampled = layout.len() >= SAMPLE_MIN;
    let mut cuts = Cuts::new(if sampled { sample(layout, source, weights) } else { Vec::new() }, count);
    let mut cut = cuts.next();
    let mut found = Vec::with_capacity(layout.len().min(if sampled { 2 * count } else { usize::MAX }));
    for (number, (tensor, &weight)) in layout.tensors().iter().zip(weights).enumerate() {
        for start in tensor.range().step_by(CHUNK) {
            let chunk = source.ready(number, start..tensor.range().end.min(start + CHUNK));
            push_above(start, chunk, weight, cut, &mut found);
        }
    }
    if let Some(&Candidate { index, value, .. }) = found.iter().find(|candidate| !in_range(candidate.value)) {
        return Err(value_error(layout, index as usize, value));
    }
    while found.len() < count && cut > 1 {
        cut = cuts.next();
        found.clear();
        for (number, (tensor, &weight)) in layout.tensors().iter().zip(weights).enumerate() {
            push_above(tensor.offset, &source.again(number, tensor.range()), weight, cut, &mut found);
        }
    }
    Ok(found)
}

/// The `count` highest scores of a tensor (if there are so many above zero), in order of index. All values are finite.
fn top_of(offset: usize, values: &[f32], weight: f32, count: usize) -> Vec<Candidate> {
    // Of so many disjoint parts the `count` highest maxima: as many values are that high.
    let mut maxima = maxima(values);
    let cut = if (1..=maxima.len()).contains(&count) {
        score_of(*maxima.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1, weight)
    } else {
        1
    };
    let mut found = Vec::new();
    push_above(offset, values, weight, cut.max(1), &mut found);
    keep_top(&mut found, count);
    found
}

/// The largest magnitude of every so many values, which are columns of 16 rows each.
fn maxima(values: &[f32]) -> Vec<f32> {
    const COLUMNS: usize = 16;
    let mut maxima = Vec::with_capacity(values.len().div_ceil(COLUMNS));
    for rows in values.chunks(COLUMNS * COLUMNS) {
        let mut most = [0.0_f32; COLUMNS];
        let columns = most.len().min(rows.len());
        for row in rows.chunks(COLUMNS) {
            for (most, value) in most.iter_mut().zip(row) {
                *most = if value.abs() > *most { value.abs() } else { *most };
            }
        }
        maxima.extend_from_slice(&most[..columns]);
    }
    maxima
}

/// Scores that probably are below the `count` highest, the first one as high as it may be, the last one 1.
struct Cuts {
    sample: Vec<u32>,
    rank: usize,
}

impl Cuts {
    fn new(sample: Vec<u32>, count: usize) -> Self {
        // Four standard deviations beyond the expected rank leave out too much only if like lies by like; then go deeper.
        let expected = count as f64 / SAMPLE_RUNS as f64;
        Self { sample, rank: (expected + 4.0 * expected.sqrt()) as usize + SAMPLE_RUN }
    }

    fn next(&mut self) -> u32 {
        let rank = self.rank;
        self.rank *= 4;
        if rank >= self.sample.len() {
            return 1;
        }
        let (_, &mut cut, _) = self.sample.select_nth_unstable_by(rank, |a, b| b.cmp(a));
        cut.max(1)
    }
}

/// Scores of every so many runs of values.
fn sample(layout: &Layout, source: &impl Source, weights: &[f32]) -> Vec<u32> {
    let mut sample = Vec::with_capacity(layout.len() / SAMPLE_RUNS + SAMPLE_RUN);
    let (mut number, tensors) = (0, layout.tensors());
    for start in (0..layout.len()).step_by(SAMPLE_RUN * SAMPLE_RUNS) {
        while start >= tensors[number].range().end {
            number += 1;
        }
        // A run ends with its tensor.
        let end = tensors[number].range().end.min(start + SAMPLE_RUN);
        sample.extend(source.ahead(number, start..end).map(|value| score_of(value, weights[number])));
    }
    sample
}

/// Appends the values with scores of at least `cut`, and those out of range.
fn push_above(offset: usize, values: &[f32], weight: f32, cut: u32, into: &mut Vec<Candidate>) {
    const ROW: usize = 16;
    // With this limit, what is out of range is above the cut.
    let cut = cut.min(score_of(MAGNITUDE_MAX, weight).max(1));
    let cut_score = f32::from_bits(cut);
    // A byte for each value, several compared at a time; then a row looked at together, since most are below.
    let mut above = [0_u8; CHUNK];
    for (start, values) in (offset..).step_by(CHUNK).zip(values.chunks(CHUNK)) {
        for (above, value) in above.iter_mut().zip(values) {
            let below = value.abs() * weight < cut_score;
            *above = u8::from(!below);
        }
        let rows = values.len().div_ceil(ROW);
        above[values.len()..rows * ROW].fill(0);
        for (position, row) in (0..).step_by(ROW).zip(&above.as_chunks::<ROW>().0[..rows]) {
            let mut bits = u128::from_le_bytes(*row);
            while bits != 0 {
                let position = position + bits.trailing_zeros() as usize / 8;
                bits &= bits - 1;
                let value = values[position];
                let (score, index) = (score_of(value, weight), (start + position) as u32);
                into.push(Candidate { score, index, value });
            }
        }
    }
}

fn score_of(value: f32, weight: f32) -> u32 {
    (value.abs() * weight).to_bits()
}

/// Keeps the `count` highest scores, in order of index; of equal scores the first.
fn keep_top(candidates: &mut Vec<Candidate>, count: usize) {
    if candidates.len() <= count {
        return;
    }
    if count == 0 {
        candidates.clear();
        return;
    }
    let mut scores: Vec<u32> = candidates.iter().map(|candidate| candidate.score).collect();
    let (higher, &mut threshold, _) = scores.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    let mut equal = count - higher.iter().filter(|&&score| score > threshold).count();
    candidates.retain(|candidate| {
        let tie = candidate.score == threshold && equal > 0;
        equal -= usize::from(tie);
        candidate.score > threshold || tie
    });
}

/// How many of `candidates` (in order of index) lie in each tensor.
fn count_per_tensor(layout: &Layout, candidates: &[Candidate]) -> Vec<usize> {
    let mut rest = candidates;
    let count = |end: usize| {
        let (mine, later) = rest.split_at(rest.partition_point(|candidate| (candidate.index as usize) < end));
        rest = later;
        mine.len()
    };
    layout.tensors().iter().map(|tensor| tensor.offset + tensor.len).map(count).collect()
}

fn retain_tensors(layout: &Layout, candidates: &mut Vec<Candidate>, keep: impl Fn(usize) -> bool) {
    let tensors = layout.tensors();
    let mut number = 0;
    candidates.retain(|candidate| {
        while candidate.index as usize >= tensors[number].offset + tensors[number].len {
            number += 1;
        }
        keep(number)
    });
}

#[cfg(test)]
mod tests;
