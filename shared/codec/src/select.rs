//! Which values are sent: exactly the k highest scores over all tensors, with a floor for every tensor.
//!
//! Without floors the few values of depthwise kernels and biases would starve beside large layers.

use params::Layout;

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

/// Below this many values a copy is sorted out directly; above, a histogram first leaves out nearly all of them.
const HISTOGRAM_MIN: usize = 1 << 15;
/// Exponent and seven bits of the mantissa of a non-negative f32.
const BINS: usize = 1 << 15;
const BIN_SHIFT: u32 = 16;

/// A value that may be sent; scores are non-negative f32 as bits, which order like integers.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: u32,
    index: u32,
}

/// How many of `layout`'s values are sent for `density` and `floor`, and how many of each tensor at least.
pub(crate) fn shares(layout: &Layout, density: f32, floor: f32) -> (usize, Vec<usize>) {
    let part =
        |share: f32, len: usize| ((f64::from(share) * len as f64).round() as usize).clamp(1, len.max(1));
    let floors: Vec<usize> = layout.tensors().iter().map(|tensor| part(floor, tensor.len)).collect();
    let count = part(density, layout.len()).max(floors.iter().sum());
    (count, floors)
}

/// The entries to send, in order of index. Zeros are never sent; equal scores are taken in order of index.
pub(crate) fn select(
    layout: &Layout,
    values: &[f32],
    density: f32,
    floor: f32,
    score: Score,
) -> Vec<(u32, f32)> {
    let tensors = layout.tensors();
    let (count, mut floors) = shares(layout, density, floor);
    let weights: Vec<f32> = tensors.iter().map(|tensor| score.weight(&values[tensor.range()])).collect();

    let mut top = candidates(layout, values, &weights, count);
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
            let mut best = Vec::new();
            push_candidates(tensor.offset, &values[tensor.range()], weights[number], 1, &mut best);
            keep_top(&mut best, floors[number]);
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
        entries.extend(mine.iter().map(|candidate| (candidate.index, values[candidate.index as usize])));
        rest = later;
    }
    entries
}

/// At least the `count` highest scores (if there are so many above zero), in order of index.
fn candidates(layout: &Layout, values: &[f32], weights: &[f32], count: usize) -> Vec<Candidate> {
    let cut = if values.len() < HISTOGRAM_MIN { 1 } else { histogram_cut(layout, values, weights, count) };
    let mut found = Vec::with_capacity(if cut == 1 { values.len() } else { count + count / 8 });
    for (tensor, &weight) in layout.tensors().iter().zip(weights) {
        push_candidates(tensor.offset, &values[tensor.range()], weight, cut, &mut found);
    }
    found
}

fn push_candidates(offset: usize, values: &[f32], weight: f32, cut: u32, into: &mut Vec<Candidate>) {
    // Most blocks hold nothing above the cut: one maximum over a block is cheaper than a branch per value.
    const BLOCK: usize = 32;
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let highest = values.iter().fold(0, |highest, &value| highest.max(score_of(value, weight)));
        if highest < cut {
            continue;
        }
        for (position, &value) in values.iter().enumerate() {
            let score = score_of(value, weight);
            if score >= cut {
                into.push(Candidate { score, index: (offset + block * BLOCK + position) as u32 });
            }
        }
    }
}

fn score_of(value: f32, weight: f32) -> u32 {
    (value.abs() * weight).to_bits()
}

/// The lower edge of the highest bin such that at least `count` scores lie in it or above.
fn histogram_cut(layout: &Layout, values: &[f32], weights: &[f32], count: usize) -> u32 {
    // Four tables, so that increments of one bin in a row do not wait for each other.
    let mut tables = vec![[0_u32; 4]; BINS];
    for (tensor, &weight) in layout.tensors().iter().zip(weights) {
        let (quads, rest) = values[tensor.range()].as_chunks::<4>();
        for quad in quads {
            for (table, &value) in quad.iter().enumerate() {
                tables[(score_of(value, weight) >> BIN_SHIFT) as usize][table] += 1;
            }
        }
        for &value in rest {
            tables[(score_of(value, weight) >> BIN_SHIFT) as usize][0] += 1;
        }
    }
    let mut above = 0_usize;
    for bin in (1..BINS).rev() {
        above += tables[bin].iter().map(|&n| n as usize).sum::<usize>();
        if above >= count {
            return (bin as u32) << BIN_SHIFT;
        }
    }
    1
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
