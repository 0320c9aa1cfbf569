//! Which moves are published: exactly the k largest over all tensors, with a floor for every tensor, found by counting.
//!
//! The values are looked at several times instead of being kept beside each other, so that it takes half a megabyte, whatever the model
//! and the share. (`codec::strongest` chooses the same ones.)

/// Digits of a score that are counted first, and those that are left.
const COARSE_BITS: u32 = 16;
const FINE_BITS: u32 = 31 - COARSE_BITS;

/// Ticks of a tensor, and their step.
pub(super) type Part<'a> = (&'a [i32], f64);

/// Takes the highest scores of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Higher ones are taken.
    threshold: u32,
    /// And so many that equal it, the first ones.
    equal: usize,
}

impl Cut {
    /// Whether the next of the tensor's moves, in order, is taken.
    pub(super) fn takes(&mut self, tick: i32, step: f64) -> bool {
        let score = score(tick, step);
        let tie = score == self.threshold && self.equal > 0;
        self.equal -= usize::from(tie);
        score > self.threshold || tie
    }

    /// How many of a tensor's scores are higher, and how many are equal.
    fn count(self, (ticks, step): Part<'_>) -> (usize, usize) {
        let mut counts = (0, 0);
        for &tick in ticks {
            let score = score(tick, step);
            counts.0 += usize::from(score > self.threshold);
            counts.1 += usize::from(score == self.threshold);
        }
        counts
    }
}

/// Magnitudes as non-negative f32, which order like integers.
fn score(tick: i32, step: f64) -> u32 {
    ((f64::from(tick) * step) as f32).abs().to_bits()
}

/// Cuts, one a tensor, that take the `count` largest moves over all, but of each tensor as many as `floors` says (together at most
/// `count`), if there are so many. Zeros are never taken; of equal ones the first in order are.
///
/// Tensors below their floor take their own best and leave the competition, which raises the bar for the others and may bring more of
/// them below their floors; the set only grows, so this ends.
pub(super) fn cuts(parts: &[Part<'_>], count: usize, mut floors: Vec<usize>) -> Vec<Cut> {
    let mut own: Vec<Option<(Cut, usize)>> = vec![None; parts.len()];
    loop {
        let taken: usize = own.iter().flatten().map(|(_, size)| size).sum();
        let competing: Vec<_> =
            parts.iter().zip(&own).filter(|(_, own)| own.is_none()).map(|(part, _)| *part).collect();
        let mut all = highest(&competing, count.saturating_sub(taken));
        let mut cuts = Vec::with_capacity(parts.len());
        let mut changed = false;
        for ((&part, own), floor) in parts.iter().zip(&mut own).zip(&mut floors) {
            if let Some((cut, _)) = own {
                cuts.push(*cut);
                continue;
            }
            let (higher, equal) = all.count(part);
            let equal = equal.min(all.equal);
            all.equal -= equal;
            cuts.push(Cut { equal, ..all });
            if higher + equal < *floor {
                let best = highest(&[part], *floor);
                let (best_higher, best_equal) = best.count(part);
                // A tensor with few moves other than zero has a lower floor.
                *floor = best_higher + best_equal.min(best.equal);
                if higher + equal < *floor {
                    *own = Some((best, *floor));
                    changed = true;
                }
            }
        }
        if !changed {
            return cuts;
        }
    }
}

/// The cut that takes the `count` highest scores of all parts together, or all above zero.
fn highest(parts: &[Part<'_>], count: usize) -> Cut {
    if count == 0 {
        return Cut { threshold: u32::MAX, equal: 0 };
    }
    let mut coarse = vec![0_u32; 1 << COARSE_BITS];
    for &(ticks, step) in parts {
        for &tick in ticks {
            coarse[(score(tick, step) >> FINE_BITS) as usize] += u32::from(tick != 0);
        }
    }
    let Some((top, left)) = rank(&coarse, count) else { return Cut { threshold: 0, equal: 0 } };
    let mut fine = vec![0_u32; 1 << FINE_BITS];
    for &(ticks, step) in parts {
        for &tick in ticks {
            let score = score(tick, step);
            if score >> FINE_BITS == top {
                fine[(score & ((1 << FINE_BITS) - 1)) as usize] += u32::from(tick != 0);
            }
        }
    }
    let Some((low, equal)) = rank(&fine, left) else { unreachable!("they were counted before") };
    Cut { threshold: top << FINE_BITS | low, equal }
}

/// Where in these counts the `count`-th from the end is, and how many are needed from there; `None` if there are not so many.
fn rank(counts: &[u32], count: usize) -> Option<(u32, usize)> {
    let mut left = count;
    for (place, &here) in counts.iter().enumerate().rev() {
        if left <= here as usize {
            return Some((place as u32, left));
        }
        left -= here as usize;
    }
    None
}
