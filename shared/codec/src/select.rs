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

/// From this many values on, a sample first tells where the cut is about; below, all values are candidates.
const SAMPLE_MIN: usize = 1 << 15;
/// A sample takes one run of values (a cache line) out of so many.
const SAMPLE_RUN: usize = 16;
const SAMPLE_RUNS: usize = 64;

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
    let mut found = Vec::new();
    let mut push_from = |cut: u32| {
        found.clear();
        for (tensor, &weight) in layout.tensors().iter().zip(weights) {
            push_candidates(tensor.offset, &values[tensor.range()], weight, cut, &mut found);
        }
        found.len() >= count
    };
    if values.len() < SAMPLE_MIN {
        push_from(1);
        return found;
    }
    let mut sample = sample(layout, values, weights);
    // Four standard deviations beyond the expected rank leave out too much only if like lies by like; then go deeper.
    let expected = count as f64 / SAMPLE_RUNS as f64;
    let mut rank = (expected + 4.0 * expected.sqrt()) as usize + SAMPLE_RUN;
    while rank < sample.len() {
        let (_, &mut cut, _) = sample.select_nth_unstable_by(rank, |a, b| b.cmp(a));
        if push_from(cut.max(1)) {
            return found;
        }
        rank *= 4;
    }
    push_from(1);
    found
}

/// Scores of every so many runs of values.
fn sample(layout: &Layout, values: &[f32], weights: &[f32]) -> Vec<u32> {
    let mut sample = Vec::with_capacity(values.len() / SAMPLE_RUNS + SAMPLE_RUN);
    let (mut number, tensors) = (0, layout.tensors());
    for start in (0..values.len()).step_by(SAMPLE_RUN * SAMPLE_RUNS) {
        while start >= tensors[number].range().end {
            number += 1;
        }
        // A run that begins in a tensor is taken with its weight; what it takes of the next one does not matter much.
        let run = &values[start..values.len().min(start + SAMPLE_RUN)];
        sample.extend(run.iter().map(|&value| score_of(value, weights[number])));
    }
    sample
}

/// Appends the values with scores of at least `cut`.
fn push_candidates(offset: usize, values: &[f32], weight: f32, cut: u32, into: &mut Vec<Candidate>) {
    // Most blocks hold nothing above the cut: their highest score is cheaper than a branch per value. In this form a maximum
    // is one instruction for several values; all scores are numbers.
    const LANES: usize = 8;
    const BLOCK: usize = 8 * LANES;
    let higher = |highest: f32, score: f32| if score > highest { score } else { highest };
    let cut_score = f32::from_bits(cut);
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let (rows, rest) = values.as_chunks::<LANES>();
        let mut highest = [0.0; LANES];
        for row in rows {
            for (highest, value) in highest.iter_mut().zip(row) {
                *highest = higher(*highest, value.abs() * weight);
            }
        }
        let rest_scores = rest.iter().map(|value| value.abs() * weight);
        if highest.into_iter().chain(rest_scores).fold(0.0, higher) < cut_score {
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
