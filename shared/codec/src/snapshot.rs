//! A whole published version, exactly: what a client decodes is bit for bit what the coordinator stored, so both compute the same
//! digest.
//!
//! Ticks are taken without the zeros that all of a tensor end with, as distances to their mean, in a Rice code that follows their
//! size. A version that has been rounded to a coarse grid, as the first one is, so costs what the coarse grid costs.

use std::sync::Arc;

use params::{Canonical, Grid, Layout};

use crate::adaptive::Adaptive;
use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, Rule};
use crate::frame::{Reader, open, put_varint, seal};
use crate::statistics::StatisticsLayout;
use crate::statistics::codes::{MEAN_MAX, VARIANCE_LEAST, VARIANCE_MAX, codes, values};

/// First byte: a whole version.
const KIND: u8 = 0x52;
/// Size of the first distances, before any is known.
const FIRST: u32 = 1 << 10;

/// Encodes a version: shared weights and pooled statistics, which have to be values of codes
/// ([`crate::statistics::codes::rounded`]).
///
/// # Panics
/// If there are not as many statistics as the layout has.
pub fn encode_snapshot(layout: &StatisticsLayout, model: &Canonical, statistics: &[f32]) -> Vec<u8> {
    let tensors = model.layout().tensors();
    let mut bytes = vec![KIND];
    put_varint(&mut bytes, model.layout().len() as u32);
    put_varint(&mut bytes, statistics.len() as u32);
    let mut packings = Vec::with_capacity(tensors.len());
    for (tensor, exponent) in tensors.iter().zip(model.grid().exponents()) {
        let packing = Packing::of(&model.ticks()[tensor.range()]);
        bytes.extend_from_slice(&exponent.to_le_bytes());
        bytes.push(packing.shift as u8);
        put_varint(&mut bytes, folded(packing.centre));
        packings.push(packing);
    }
    bytes.reserve(model.layout().len() * 3 / 2);
    let mut stream = BitWriter::after(bytes);
    let mut sizes = Adaptive::expecting(FIRST);
    for (tensor, packing) in tensors.iter().zip(&packings) {
        for &tick in &model.ticks()[tensor.range()] {
            sizes.put(&mut stream, folded((tick >> packing.shift).wrapping_sub(packing.centre)));
        }
    }
    let codes = codes(layout, statistics);
    let (mut means, mut variances) = (Adaptive::expecting(FIRST), Adaptive::expecting(FIRST));
    let mut before = 0;
    for (mean, var) in layout.all() {
        variances.put(&mut stream, folded(codes[var] - before));
        means.put(&mut stream, folded(codes[mean]));
        before = codes[var];
    }
    seal(stream.finish())
}

/// Decodes a version over the layouts of the shared tensors and of the statistics. Memory is what the layouts imply, and nothing is
/// allocated for values that the bytes cannot hold.
///
/// # Errors
/// Names the offset and the rule that is broken.
pub fn decode_snapshot(
    shared_layout: &Arc<Layout>,
    layout: &StatisticsLayout,
    bytes: &[u8],
) -> Result<(Canonical, Vec<f32>), DecodeError> {
    let mut reader = open(bytes)?;
    let kind = reader.u8()?;
    if kind != KIND {
        return Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "kind", found: kind } });
    }
    reader.expect("number of values", shared_layout.len())?;
    reader.expect("number of statistics", layout.len())?;
    let tensors = shared_layout.tensors();
    let (mut exponents, mut packings) = (Vec::new(), Vec::new());
    for _ in tensors {
        exponents.push(i8::from_le_bytes(reader.array()?));
        packings.push(Packing::read(&mut reader)?);
    }
    if shared_layout.len() + layout.len() > 8 * reader.remaining() {
        return Err(reader.error(Rule::Truncated));
    }
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let mut ticks: Vec<i32> = Vec::with_capacity(shared_layout.len());
    let mut sizes = Adaptive::expecting(FIRST);
    for (tensor, packing) in tensors.iter().zip(&packings) {
        for _ in 0..tensor.len {
            let multiple = unfolded(sizes.get(&mut stream)?).wrapping_add(packing.centre);
            let tick = multiple << packing.shift;
            if tick >> packing.shift != multiple {
                return Err(stream.error(Rule::Form { what: "a tick" }));
            }
            ticks.push(tick);
        }
        // There is one way to write a tensor, so that equal versions have equal bytes.
        if Packing::of(&ticks[tensor.range()]) != *packing {
            return Err(stream.error(Rule::Form { what: "the packing of a tensor" }));
        }
    }
    let statistics = read_statistics(&mut stream, layout)?;
    stream.end()?;
    let model = Grid::from_exponents(shared_layout, exponents)
        .and_then(|grid| Canonical::from_ticks(Arc::clone(shared_layout), grid, ticks));
    let model = model.map_err(|_| DecodeError { offset: start, rule: Rule::Form { what: "the model" } })?;
    Ok((model, statistics))
}

fn read_statistics(stream: &mut BitReader<'_>, layout: &StatisticsLayout) -> Result<Vec<f32>, DecodeError> {
    let mut codes = vec![0; layout.len()];
    let (mut means, mut variances) = (Adaptive::expecting(FIRST), Adaptive::expecting(FIRST));
    let mut before = 0_i32;
    for (mean, var) in layout.all() {
        before = before.wrapping_add(unfolded(variances.get(stream)?));
        (codes[var], codes[mean]) = (before, unfolded(means.get(stream)?));
        for (code, least, most) in [
            (codes[var], VARIANCE_LEAST, VARIANCE_MAX as i32),
            (codes[mean], -(MEAN_MAX as i32), MEAN_MAX as i32),
        ] {
            let bound = if code < 0 { least } else { most };
            if code.unsigned_abs() > bound.unsigned_abs() {
                let (found, max) = (code.unsigned_abs().into(), bound.unsigned_abs().into());
                return Err(stream.error(Rule::Range { what: "a statistic", found, min: 0, max }));
            }
        }
    }
    Ok(values(layout, &codes))
}

/// Numbers of both signs in order of magnitude: 0, -1, 1, -2, 2...
fn folded(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)) as u32
}

fn unfolded(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

/// How the ticks of a tensor are written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Packing {
    /// Low bits that are zero in all of them, 0 to 31.
    shift: u32,
    /// Mean of what remains, rounded down.
    centre: i32,
}

impl Packing {
    fn of(ticks: &[i32]) -> Self {
        let seen = ticks.iter().fold(0, |seen, tick| seen | tick);
        let shift = if seen == 0 { 0 } else { seen.trailing_zeros() };
        let sum: i64 = ticks.iter().map(|tick| i64::from(tick >> shift)).sum();
        Self { shift, centre: sum.div_euclid(ticks.len().max(1) as i64) as i32 }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let shift = reader.byte("step of a tensor", 0, 31)?.into();
        Ok(Self { shift, centre: unfolded(reader.varint()?) })
    }
}

#[cfg(test)]
mod tests;
