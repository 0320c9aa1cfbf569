//! Divides tensors into classes that are coded alike, by counted bits.
//!
//! Tensors differ in density and scale by orders of magnitude, so one Rice parameter and one set of levels for all would cost more
//! than a table of a few. Tensors that are nearly alike are put together first; then, step by step, the two classes that
//! lose least by it become one, and the division with the fewest bits on the way is taken.

use params::Layout;

use super::{CLASSES_MAX, Cursor, GAP_RICE_MAX};
use crate::bits::rice_bits_of_all;

/// Most classes to begin with.
const ALIKE_MAX: usize = 64;
/// A row of the table of classes.
const ROW_BITS: f64 = 40.0;
/// No step finer than this share of the least magnitude is asked for when bits are compared.
const FINEST: f64 = 1.0 / 256.0;

/// A division of a layout's tensors.
#[derive(Debug)]
pub(super) struct Classes {
    /// Class of every tensor; empty when there is nothing to divide.
    pub(super) of_tensor: Vec<u8>,
    /// Rice parameter of the gaps that begin in tensors of each class.
    pub(super) rices: Vec<u32>,
    /// Entries of each class.
    pub(super) counts: Vec<usize>,
}

/// Bits of a class number when there are this many classes.
pub(super) fn number_bits(classes: usize) -> u32 {
    classes.max(1).next_power_of_two().ilog2()
}

/// What is known of some tensors.
#[derive(Clone)]
struct Tally {
    tensors: Vec<usize>,
    entries: usize,
    /// Least magnitude and sum of magnitudes.
    least: f32,
    sum: f64,
    /// Bits of the gaps that begin here, by Rice parameter.
    gap_bits: [u32; GAP_RICE_MAX + 1],
}

/// The best division found for `entries` (in order of index).
pub(super) fn divide(layout: &Layout, entries: &[(u32, f32)]) -> Classes {
    if entries.is_empty() {
        return Classes { of_tensor: Vec::new(), rices: Vec::new(), counts: Vec::new() };
    }
    let mut classes = alike(tally(layout, entries));
    let mut costs: Vec<f64> = classes.iter().map(Tally::bits).collect();
    // What joining two classes costs more; the second has the higher number.
    let more = |classes: &[Tally], costs: &[f64], first: usize, second: usize| {
        classes[first].bits_with(&classes[second]) - costs[first] - costs[second]
    };
    let mut mores: Vec<Vec<f64>> = (0..classes.len())
        .map(|second| (0..second).map(|first| more(&classes, &costs, first, second)).collect())
        .collect();
    let numbers = |classes: usize| f64::from(number_bits(classes)) * layout.tensors().len() as f64;
    let mut best = (f64::INFINITY, classes.clone());
    loop {
        let bits = costs.iter().sum::<f64>() + numbers(classes.len());
        if bits <= best.0 && classes.len() <= CLASSES_MAX {
            best = (bits, classes.clone());
        }
        let pairs = mores.iter().enumerate().flat_map(|(second, mores)| {
            mores.iter().enumerate().map(move |(first, &more)| (more, first, second))
        });
        let Some((_, first, second)) = pairs.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        // The last class takes the place of the one that is gone.
        let last = classes.len() - 1;
        let (removed, _) = (classes.swap_remove(second), costs.swap_remove(second));
        classes[first].join(removed);
        costs[first] = classes[first].bits();
        mores.truncate(last);
        for other in 0..last {
            for changed in [first, second] {
                if other != changed && changed < last {
                    let (low, high) = (other.min(changed), other.max(changed));
                    mores[high][low] = more(&classes, &costs, low, high);
                }
            }
        }
    }
    let mut of_tensor = vec![0; layout.tensors().len()];
    for (number, class) in best.1.iter().enumerate() {
        class.tensors.iter().for_each(|&tensor| of_tensor[tensor] = number as u8);
    }
    let rices = best.1.iter().map(|class| class.rice().0).collect();
    let counts = best.1.iter().map(|class| class.entries).collect();
    Classes { of_tensor, rices, counts }
}

/// One tally for each tensor.
fn tally(layout: &Layout, entries: &[(u32, f32)]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = (0..layout.tensors().len()).map(Tally::new).collect();
    let mut gaps = Vec::with_capacity(entries.len());
    let (mut cursor, mut begins) = (Cursor::new(layout), Cursor::new(layout));
    let mut next = 0;
    // The gaps from `start` on begin in `current`.
    let (mut start, mut current) = (0, 0);
    for &(index, value) in entries {
        let begin = begins.find(next);
        if begin != current {
            tallies[current].gap_bits = rice_bits_of_all(&gaps[start..]);
            (start, current) = (gaps.len(), begin);
        }
        gaps.push(index - next);
        next = index + 1;
        tallies[cursor.find(index)].add_value(value);
    }
    tallies[current].gap_bits = rice_bits_of_all(&gaps[start..]);
    tallies
}

/// Puts every tensor to the class it costs least to join, or makes a new class of it if that is much more than nothing. (Most
/// tensors begin at the common threshold; those held to their floor begin below, and would spoil the levels of the rest.)
fn alike(tallies: Vec<Tally>) -> Vec<Tally> {
    let mut classes: Vec<Tally> = Vec::new();
    let mut costs: Vec<f64> = Vec::new();
    for tally in tallies {
        let bits = tally.bits();
        let more = |(class, cost): (&Tally, &f64)| class.bits_with(&tally) - cost - bits + ROW_BITS;
        let joining = classes.iter().zip(&costs).map(more).enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        match joining {
            Some((number, more)) if more <= ROW_BITS / 4.0 || classes.len() == ALIKE_MAX => {
                classes[number].join(tally);
                costs[number] = classes[number].bits();
            }
            _ => {
                classes.push(tally);
                costs.push(bits);
            }
        }
    }
    classes
}

impl Tally {
    fn new(tensor: usize) -> Self {
        let gap_bits = [0; GAP_RICE_MAX + 1];
        Self { tensors: vec![tensor], entries: 0, least: f32::INFINITY, sum: 0.0, gap_bits }
    }

    fn add_value(&mut self, value: f32) {
        self.entries += 1;
        self.least = self.least.min(value.abs());
        self.sum += f64::from(value.abs());
    }

    fn join(&mut self, mut other: Self) {
        self.tensors.append(&mut other.tensors);
        self.entries += other.entries;
        self.least = self.least.min(other.least);
        self.sum += other.sum;
        self.gap_bits.iter_mut().zip(other.gap_bits).for_each(|(bits, more)| *bits += more);
    }

    /// The best Rice parameter and its bits.
    fn rice(&self) -> (u32, u32) {
        let all = (0..).zip(self.gap_bits);
        all.min_by_key(|&(_, bits)| bits).unwrap_or_default()
    }

    fn bits(&self) -> f64 {
        ROW_BITS + f64::from(self.rice().1) + value_bits(self.entries, self.least, self.sum)
    }

    /// Bits after joining with `other`.
    fn bits_with(&self, other: &Self) -> f64 {
        let gap_bits = self.gap_bits.iter().zip(&other.gap_bits).map(|(bits, more)| bits + more).min();
        let least = self.least.min(other.least);
        let values = value_bits(self.entries + other.entries, least, self.sum + other.sum);
        ROW_BITS + f64::from(gap_bits.unwrap_or_default()) + values
    }
}

/// Bits of values at one fidelity for all, up to a constant for each: halving the step costs a bit a value.
fn value_bits(entries: usize, least: f32, sum: f64) -> f64 {
    if entries == 0 {
        return 0.0;
    }
    let (count, least) = (entries as f64, f64::from(least));
    let excess = (sum / count - least).max(FINEST * least);
    count * excess.max(f64::MIN_POSITIVE).log2()
}
