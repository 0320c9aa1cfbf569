//! The scan: units of blocks to rows of samples to pixels.

use std::sync::Arc;

use super::bits::{Bits, Entropy};
use super::colour;
use super::header::{Component, Header};
use super::huffman::{AcTable, DcTable, Many};
use super::idct::{COEFFICIENT_MAX, Coefficients, Inverse, inverse};

/// The place of each coefficient of the zigzag order in rows.
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A picture of `[height, width, 3]` bytes.
pub(super) struct Pixels {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<u8>,
}

/// Decodes at `eighths`/8 of the size, 1 to 7. `None` when anything is wrong with the scan.
pub(super) fn decode(header: &Header<'_>, eighths: usize) -> Option<Pixels> {
    let unit = header.components.iter().fold([1, 1], |[across, down], component| {
        [across.max(component.sampling[0]), down.max(component.sampling[1])]
    });
    let units = [header.width.div_ceil(8 * unit[0]), header.height.div_ceil(8 * unit[1])];
    let (width, height) = ((header.width * eighths).div_ceil(8), (header.height * eighths).div_ceil(8));
    let stride = units[0] * unit[0] * eighths;
    let strip_rows = unit[1] * eighths;
    let mut channels = Vec::with_capacity(header.components.len());
    for component in &header.components {
        channels.push(Channel::new(component, unit, eighths, stride, strip_rows)?);
    }

    let interval = if header.restart == 0 { units[0] * units[1] } else { header.restart };
    let entropy = Entropy::new(header.scan, (units[0] * units[1]).div_ceil(interval))?;
    let mut parts = entropy.readers();
    let mut bits = parts.next()?;
    let mut left = interval;
    let mut rgb = vec![0; width * height * 3];
    for rows in rgb.chunks_mut(width * 3 * strip_rows) {
        for across in 0..units[0] {
            if left == 0 {
                if !bits.is_at_the_end() {
                    return None;
                }
                bits = parts.next()?;
                left = interval;
                channels.iter_mut().for_each(|channel| channel.last = 0);
            }
            left -= 1;
            for channel in &mut channels {
                channel.unit(&mut bits, across)?;
            }
        }
        // Zeros come after the end: seen here, they cost a strip at most.
        if bits.is_past_the_end() {
            return None;
        }
        for (row, out) in rows.chunks_exact_mut(width * 3).enumerate() {
            let samples = row * stride..row * stride + width;
            match &channels[..] {
                [luma, blue, red] => {
                    let [y, cb, cr] = [luma, blue, red].map(|channel| &channel.strip[samples.clone()]);
                    colour::to_rgb(y, cb, cr, out);
                }
                [luma, ..] => colour::grey(&luma.strip[samples], out),
                [] => return None,
            }
        }
    }
    bits.is_at_the_end().then_some(Pixels { width, height, rgb })
}

/// One component on its way through the scan.
struct Channel {
    dc: DcTable,
    ac: Arc<AcTable>,
    /// Steps and places of the coefficients in zigzag order. Those that are not shown have a step of 0.
    steps: [(i32, u8); 64],
    /// The last coefficient, in zigzag order, that is shown.
    last_shown: usize,
    /// Blocks in a unit.
    sampling: [usize; 2],
    /// Samples of a block.
    block: [usize; 2],
    inverse: Inverse,
    /// The first coefficient of the block before.
    last: i32,
    /// A row of units as samples, rows of `stride`.
    strip: Vec<u8>,
    stride: usize,
}

impl Channel {
    fn new(
        component: &Component<'_>,
        unit: [usize; 2],
        eighths: usize,
        stride: usize,
        strip_rows: usize,
    ) -> Option<Self> {
        // A component of half the size gets blocks of twice the size, so that all have the same number of samples.
        let block = [0, 1].map(|axis| eighths * unit[axis] / component.sampling[axis]);
        let shown = |place: u8| usize::from(place % 8) < block[0] && usize::from(place / 8) < block[1];
        let mut steps = [(0, 0); 64];
        for ((step, &place), &quantisation) in steps.iter_mut().zip(&ZIGZAG).zip(&component.quantisation) {
            *step = if shown(place) { (i32::from(quantisation), place) } else { (0, place) };
        }
        Some(Self {
            dc: DcTable::new(component.dc)?,
            ac: AcTable::of(component.ac),
            steps,
            last_shown: ZIGZAG.iter().rposition(|&place| shown(place)).unwrap_or(0),
            sampling: component.sampling,
            block,
            inverse: inverse(block[0], block[1])?,
            last: 0,
            strip: vec![0; stride * strip_rows],
            stride,
        })
    }

    /// Decodes the blocks of this component in unit number `across` of the row. Inlined, as all it calls with `bits`, so that
    /// the reader stays in registers from block to block.
    #[inline(always)]
    fn unit(&mut self, bits: &mut Bits<'_>, across: usize) -> Option<()> {
        for down in 0..self.sampling[1] {
            for right in 0..self.sampling[0] {
                let mut block = [0; 64];
                self.read(bits, &mut block)?;
                let column = (across * self.sampling[0] + right) * self.block[0];
                (self.inverse)(
                    &block,
                    &mut self.strip[down * self.block[1] * self.stride + column..],
                    self.stride,
                );
            }
        }
        Some(())
    }

    /// Reads the coefficients of a block.
    #[inline(always)]
    fn read(&mut self, bits: &mut Bits<'_>, block: &mut Coefficients) -> Option<()> {
        bits.refill();
        self.last = self.last.wrapping_add(self.dc.take(bits)?);
        block[0] = dequantised(self.last, self.steps[0].0);
        // From here on a step is always ready, and `at` is the last coefficient done. The last of all ends a block without
        // saying so, and what follows is in another code: it is done with care, as seldom as it comes.
        let mut at = 0;
        let careful = self.last_shown.min(LAST - 1);
        loop {
            let one = self.ac.one(bits);
            let next = at + one.passed();
            if next <= careful {
                let (step, place) = self.steps[next & 63];
                block[usize::from(place & 63)] = dequantised(one.take(bits), step);
                at = next;
                bits.refill();
                continue;
            }
            if !one.is_seldom() && next != LAST {
                break;
            }
            bits.refill();
            let (passed, value) = self.ac.take(bits)?;
            bits.refill();
            at += passed;
            match self.steps.get(at) {
                Some(&(step, place)) if value != 0 => {
                    block[usize::from(place & 63)] = dequantised(value, step)
                }
                Some(_) => {}
                None => return (passed == Many::END).then_some(()),
            }
            if at == LAST {
                return Some(());
            }
        }
        skip_rest(&self.ac, bits, at)
    }
}

/// The number of the last coefficient of a block.
const LAST: usize = 63;

#[inline(always)]
fn dequantised(value: i32, step: i32) -> i16 {
    value.wrapping_mul(step).clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX) as i16
}

/// Passes over the coefficients after number `at` to the end of the block; a step must be ready.
#[inline(always)]
fn skip_rest(ac: &AcTable, bits: &mut Bits<'_>, mut at: usize) -> Option<()> {
    while at < LAST {
        let mut many = ac.many(bits);
        let mut next = at + many.passed();
        if next < LAST {
            bits.skip(many.bits());
            at = next;
            bits.refill();
            many = ac.many(bits);
            next = at + many.passed();
            if next < LAST {
                bits.skip(many.bits());
                at = next;
                continue;
            }
        }
        if (Many::END..Many::END + LAST).contains(&next) {
            bits.skip(many.bits());
            return Some(());
        }
        bits.refill();
        let (passed, _) = ac.take(bits)?;
        bits.refill();
        if passed == Many::END {
            return Some(());
        }
        at += passed;
    }
    (at == LAST).then_some(())
}
