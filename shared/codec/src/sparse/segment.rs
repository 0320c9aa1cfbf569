//! Divides tensors into segments by counted bits.
//!
//! Tensors differ in density and scale by orders of magnitude; one Rice parameter and one step for all would cost more than a
//! table of them. From left to right, a tensor joins the segment before it if that costs fewer bits
//! than a table row of its own.

use params::Layout;

use super::GAP_RICE_MAX;
use crate::bits::rice_bits;

/// About one row of the table: 1 + 2 + 1 + 2 + 2 bytes.
const ROW_BITS: f64 = 64.0;
/// No step is taken for finer than this share of the least magnitude when bits are compared.
const FINEST: f64 = 1.0 / 256.0;

/// Consecutive tensors that are coded alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First value.
    pub(super) start: usize,
    /// Number of tensors.
    pub(super) tensors: usize,
    /// Number of entries, at least 1.
    pub(super) count: usize,
    /// Rice parameter of the gaps.
    pub(super) rice: u32,
}

/// What is known of a run of tensors while it is decided where segments end.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    end: usize,
    tensors: usize,
    count: usize,
    /// Values before the first and after the last entry.
    lead: u32,
    tail: u32,
    /// Bits of all gaps but the first, by Rice parameter.
    gap_bits: [u32; GAP_RICE_MAX + 1],
    /// Least magnitude and sum of magnitudes.
    least: f32,
    sum: f64,
}

/// Segments that cover all tensors with entries; `entries` are in order of index.
pub(super) fn divide(layout: &Layout, entries: &[(u32, f32)]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut current: Option<Run> = None;
    let mut rest = entries;
    for tensor in layout.tensors() {
        if rest.is_empty() {
            break;
        }
        let range = tensor.range();
        let (mine, later) = rest.split_at(rest.partition_point(|&(index, _)| (index as usize) < range.end));
        rest = later;
        let next = Run::of(range.start, range.end, mine);
        current = Some(match current {
            None => next,
            Some(run) => {
                let merged = run.merge(&next);
                if run.count == 0 || merged.bits() <= run.bits() + next.bits() {
                    merged
                } else {
                    segments.push(run.close());
                    next
                }
            }
        });
    }
    segments.extend(current.map(|run| run.close()));
    segments
}

impl Run {
    fn of(start: usize, end: usize, entries: &[(u32, f32)]) -> Self {
        let mut run = Self {
            start,
            end,
            tensors: 1,
            count: entries.len(),
            lead: (end - start) as u32,
            tail: (end - start) as u32,
            gap_bits: [0; GAP_RICE_MAX + 1],
            least: f32::INFINITY,
            sum: 0.0,
        };
        let mut next = start as u32;
        for (number, &(index, value)) in entries.iter().enumerate() {
            let gap = index - next;
            next = index + 1;
            if number == 0 {
                run.lead = gap;
            } else {
                run.add_gap(gap);
            }
            run.least = run.least.min(value.abs());
            run.sum += f64::from(value.abs());
        }
        run.tail = end as u32 - next;
        run
    }

    fn add_gap(&mut self, gap: u32) {
        for (rice, bits) in self.gap_bits.iter_mut().enumerate() {
            *bits += rice_bits(gap, rice as u32);
        }
    }

    fn merge(&self, next: &Self) -> Self {
        let mut merged = *self;
        merged.end = next.end;
        merged.tensors += next.tensors;
        merged.count += next.count;
        merged.least = merged.least.min(next.least);
        merged.sum += next.sum;
        match (self.count, next.count) {
            (0, _) => {
                merged.lead = self.lead + next.lead;
                merged.tail = next.tail;
                merged.gap_bits = next.gap_bits;
            }
            (_, 0) => merged.tail = self.tail + next.tail,
            _ => {
                merged.add_gap(self.tail + next.lead);
                merged.gap_bits.iter_mut().zip(&next.gap_bits).for_each(|(bits, more)| *bits += more);
                merged.tail = next.tail;
            }
        }
        merged
    }

    /// The best Rice parameter and its bits.
    fn rice(&self) -> (u32, u32) {
        let all = self
            .gap_bits
            .iter()
            .enumerate()
            .map(|(rice, bits)| (rice as u32, bits + rice_bits(self.lead, rice as u32)));
        all.min_by_key(|&(_, bits)| bits).unwrap_or_default()
    }

    /// Bits of row, gaps, and values at one fidelity for all: halving the step costs a bit a value.
    fn bits(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let count = self.count as f64;
        let least = f64::from(self.least);
        let excess = (self.sum / count - least).max(FINEST * least);
        ROW_BITS + f64::from(self.rice().1) + count * excess.max(f64::MIN_POSITIVE).log2()
    }

    fn close(&self) -> Segment {
        Segment { start: self.start, tensors: self.tensors, count: self.count, rice: self.rice().0 }
    }
}
