//! A whole published version, exactly: ticks packed at the width each tensor needs, statistics as f32.
//!
//! What a client decodes is bit for bit what the coordinator stored, so both compute the same digest. The first byte leaves
//! room for other kinds (differences to an older version).

use std::sync::Arc;

use params::{Canonical, Grid, Layout};

use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, Rule};
use crate::frame::{Reader, open, put_varint, seal};

/// First byte: a whole version.
const KIND: u8 = 0x50;

/// Encodes a version: shared weights and pooled statistics.
pub fn encode_snapshot(model: &Canonical, statistics: &[f32]) -> Vec<u8> {
    let tensors = model.layout().tensors();
    let mut bytes = vec![KIND];
    put_varint(&mut bytes, model.layout().len() as u32);
    put_varint(&mut bytes, statistics.len() as u32);
    let mut packings = Vec::with_capacity(tensors.len());
    for (tensor, exponent) in tensors.iter().zip(model.grid().exponents()) {
        let packing = Packing::of(&model.ticks()[tensor.range()]);
        bytes.extend_from_slice(&exponent.to_le_bytes());
        bytes.push(packing.width as u8);
        bytes.extend_from_slice(&packing.least.to_le_bytes());
        packings.push(packing);
    }
    bytes.extend(statistics.iter().flat_map(|value| value.to_le_bytes()));
    let bits: usize =
        tensors.iter().zip(&packings).map(|(tensor, packing)| tensor.len * packing.width as usize).sum();
    bytes.reserve(bits / 8 + 8);
    let mut stream = BitWriter::after(bytes);
    for (tensor, packing) in tensors.iter().zip(&packings) {
        for &tick in &model.ticks()[tensor.range()] {
            stream.put(tick.wrapping_sub(packing.least) as u32, packing.width);
        }
    }
    seal(stream.finish())
}

/// Decodes a version over the layout of the shared tensors with `statistics_len` statistics. Memory is what the layout
/// implies, and nothing is allocated unless the bytes have the length their table asks for.
///
/// # Errors
/// Names the offset and the rule that is broken.
pub fn decode_snapshot(
    shared_layout: &Arc<Layout>,
    statistics_len: usize,
    bytes: &[u8],
) -> Result<(Canonical, Vec<f32>), DecodeError> {
    let mut reader = open(bytes)?;
    let kind = reader.u8()?;
    if kind != KIND {
        return Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "kind", found: kind } });
    }
    reader.expect("number of values", shared_layout.len())?;
    reader.expect("number of statistics", statistics_len)?;
    let tensors = shared_layout.tensors();
    let (mut exponents, mut packings) = (Vec::new(), Vec::new());
    let mut bits = 0_u64;
    for tensor in tensors {
        exponents.push(i8::from_le_bytes(reader.array()?));
        let packing = Packing::read(&mut reader)?;
        bits += tensor.len as u64 * u64::from(packing.width);
        packings.push(packing);
    }
    let (expected, found) = (4 * statistics_len as u64 + bits.div_ceil(8), reader.remaining() as u64);
    if expected != found {
        return Err(reader.error(Rule::Mismatch { what: "number of bytes", expected, found }));
    }
    let statistics = read_statistics(&mut reader, statistics_len)?;
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let mut ticks = Vec::with_capacity(shared_layout.len());
    for (tensor, packing) in tensors.iter().zip(&packings) {
        for _ in 0..tensor.len {
            let above = stream.get(packing.width)?;
            let tick = packing.least.checked_add_unsigned(above);
            ticks.push(tick.ok_or_else(|| stream.error(Rule::Form { what: "a tick" }))?);
        }
        // There is one way to write a tensor, so that equal versions have equal bytes.
        if Packing::of(&ticks[tensor.range()]) != *packing {
            return Err(stream.error(Rule::Form { what: "the packing of a tensor" }));
        }
    }
    stream.end()?;
    let model = Grid::from_exponents(shared_layout, exponents)
        .and_then(|grid| Canonical::from_ticks(Arc::clone(shared_layout), grid, ticks));
    let model = model.map_err(|_| DecodeError { offset: start, rule: Rule::Form { what: "the model" } })?;
    Ok((model, statistics))
}

fn read_statistics(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f32>, DecodeError> {
    let start = reader.offset();
    let words = reader.take(4 * count)?.as_chunks::<4>().0;
    let statistics: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
    match statistics.iter().position(|value| !value.is_finite()) {
        None => Ok(statistics),
        Some(bad) => {
            Err(DecodeError { offset: start + 4 * bad, rule: Rule::NotFinite { what: "a statistic" } })
        }
    }
}

/// How the ticks of a tensor are packed: each as its distance to the least one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Packing {
    least: i32,
    /// Bits per tick, 0 to 32.
    width: u32,
}

impl Packing {
    fn of(ticks: &[i32]) -> Self {
        let least = ticks.iter().copied().min().unwrap_or(0);
        let most = ticks.iter().copied().max().unwrap_or(0);
        Self { least, width: u32::BITS - (most.wrapping_sub(least) as u32).leading_zeros() }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let width = reader.byte("width of a tensor", 0, 32)?.into();
        Ok(Self { width, least: i32::from_le_bytes(reader.array()?) })
    }
}

#[cfg(test)]
mod tests;
