//! Every value in 1 to 4 bits, after a random rotation (Vargaftik et al. 2022, EDEN).
//!
//! Rotated at random, the values of a block look normally distributed whatever they were, and the best levels of a
//! quantiser are known (Max 1960). The rotation is a Hadamard transform of the values with random signs: additions only,
//! in one order, so that every machine decodes the same floats. The scale is that of least squares, which is what error
//! feedback wants; the share of the squared norm that is lost is 0.363, 0.118, 0.035 and 0.009 for 1 to 4 bits.

use half::bf16;
use params::Layout;

use crate::bits::{BitReader, BitWriter};
use crate::dense::check_count;
use crate::frame::{Reader, put_varint, read_step, seal};
use crate::random::{Random, seed_of};
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, SettingsError, check_values};

const ID: u8 = 4;
/// Values rotated together, at most.
const BLOCK: usize = 4096;
/// Most bits per value.
const BITS_MAX: u8 = 4;
/// Positive levels for a standard normal variable, by bits (Max 1960, table 1).
const LEVELS: [&[f32]; BITS_MAX as usize] = [
    &[0.7979],
    &[0.4528, 1.510],
    &[0.2451, 0.7560, 1.344, 2.152],
    &[0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733],
];

pub(crate) const ENTRY: Entry = Entry {
    name: "rotated",
    id: ID,
    description: "every value in 1 to 4 bits, rotated at random",
    build: |settings| {
        let bits = settings.value_bits;
        if !(1..=BITS_MAX).contains(&bits) {
            let found = bits.to_string();
            return Err(SettingsError::Range { what: "value bits", found, range: "1 to 4" });
        }
        Ok(Box::new(Rotated { bits }))
    },
    decode,
    form: None,
};

#[derive(Debug)]
struct Rotated {
    bits: u8,
}

/// The blocks of a layout, as offset and length: tensors cut into powers of two, large ones first, so that none is padded.
fn blocks(layout: &Layout) -> impl Iterator<Item = (usize, usize)> {
    layout.tensors().iter().flat_map(|tensor| {
        let end = tensor.range().end;
        let mut next = tensor.offset;
        std::iter::from_fn(move || {
            let left = end.checked_sub(next).filter(|&left| left > 0)?;
            let len = if left >= BLOCK { BLOCK } else { 1 << left.ilog2() };
            next += len;
            Some((next - len, len))
        })
    })
}

/// Turns the signs of `values` at random, the same ones for the same state.
fn turn(values: &mut [f32], random: &mut Random) {
    for values in values.chunks_mut(64) {
        let mut signs = random.next();
        for value in values {
            *value = f32::from_bits(value.to_bits() ^ ((signs & 1) as u32) << 31);
            signs >>= 1;
        }
    }
}

/// Walsh-Hadamard transform: its own inverse, but for a factor of their number, which is a power of two.
fn transform(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
}

/// What the decoder makes of the levels of a block, in place.
fn back(levels: &mut [f32], scale: f32, random: &mut Random) {
    transform(levels);
    turn(levels, random);
    levels.iter_mut().for_each(|value| *value *= scale);
}

fn push_block(offset: usize, values: &[f32], entries: &mut Vec<(u32, f32)>) {
    entries.extend((offset as u32..).zip(values.iter().copied()).filter(|entry| entry.1 != 0.0));
}

impl Codec for Rotated {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let seed = seed_of(values);
        let mut bytes = vec![ID];
        put_varint(&mut bytes, values.len() as u32);
        bytes.extend_from_slice(&seed.to_le_bytes());
        bytes.push(self.bits);
        let levels = LEVELS[usize::from(self.bits) - 1];
        let bounds: Vec<f32> = levels.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();

        let mut stream = BitWriter::default();
        let mut entries = Vec::with_capacity(values.len());
        let (mut random, mut same) = (Random::new(seed), Random::new(seed));
        for (offset, len) in blocks(layout) {
            let mut block = values[offset..offset + len].to_vec();
            turn(&mut block, &mut random);
            transform(&mut block);
            let squares: f64 = block.iter().map(|&value| f64::from(value).powi(2)).sum();
            let inverse = if squares > 0.0 { (squares / len as f64).sqrt().recip() } else { 0.0 };
            // Least squares: <block, levels> / <levels, levels>, and the factor of the transform.
            let (mut along, mut own) = (0.0, 0.0);
            for value in &mut block {
                let normal = (f64::from(value.abs()) * inverse) as f32;
                let number = bounds.iter().filter(|&&bound| normal >= bound).count();
                let negative = value.is_sign_negative();
                stream.put(u32::from(negative) | (number as u32) << 1, self.bits.into());
                along += f64::from(value.abs()) * f64::from(levels[number]);
                own += f64::from(levels[number]).powi(2);
                *value = if negative { -levels[number] } else { levels[number] };
            }
            let scale = bf16::from_f64(along / own / len as f64);
            bytes.extend_from_slice(&scale.to_le_bytes());
            back(&mut block, scale.to_f32(), &mut same);
            push_block(offset, &block, &mut entries);
        }
        bytes.extend_from_slice(&stream.finish());
        Ok(Encoded { payload: seal(bytes), entries })
    }

    /// The decoded values are a projection, so nothing grows; what is kept on average has no bound that holds for all values.
    fn kept(&self, _: &Layout) -> f64 {
        0.0
    }
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    let count = check_count(layout, max_entries, &mut reader)?;
    let seed = u32::from_le_bytes(reader.array()?);
    let bits = reader.byte("value bits", 1, BITS_MAX)?;
    if ((count * usize::from(bits)) as u64).div_ceil(8) > reader.remaining() as u64 {
        return Err(reader.error(Rule::Truncated));
    }
    let scales: Vec<f32> = blocks(layout).map(|_| read_step(&mut reader)).collect::<Result<_, _>>()?;
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let levels = LEVELS[usize::from(bits) - 1];
    let mut random = Random::new(seed);
    let mut entries = Vec::with_capacity(count);
    let mut block = Vec::with_capacity(BLOCK);
    for ((offset, len), scale) in blocks(layout).zip(scales) {
        block.clear();
        for _ in 0..len {
            let code = stream.get(bits.into())?;
            let level = levels[(code >> 1) as usize];
            block.push(if code & 1 == 1 { -level } else { level });
        }
        back(&mut block, scale, &mut random);
        push_block(offset, &block, &mut entries);
    }
    stream.end()?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::layout_of;
    use crate::{Settings, build};

    #[test]
    fn blocks_are_powers_of_two_that_cover_every_tensor() {
        let layout = layout_of(&[1, 7, 9000]);
        let expected = [(0, 1), (1, 4), (5, 2), (7, 1), (8, 4096), (4104, 4096), (8200, 512), (8712, 256)];
        let found: Vec<_> = blocks(&layout).collect();
        assert_eq!(found[..8], expected);
        assert_eq!(found.iter().map(|block| block.1).sum::<usize>(), 9008);
    }

    /// The distortions of the optimum quantiser of a normal variable (Max 1960), for values that are all but normal.
    #[test]
    fn a_few_large_values_cost_as_little_as_normal_ones() {
        let layout = layout_of(&[4096]);
        let mut values = vec![0.0; 4096];
        for (number, value) in values.iter_mut().step_by(100).enumerate() {
            *value = (number as f32 - 20.5) * 0.1;
        }
        let all: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        for (bits, expected) in [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009_497)] {
            let codec = build("rotated", &Settings { value_bits: bits, ..Settings::default() }).unwrap();
            let mut missing = values.clone();
            let encoded = codec.encode(&layout, &values).unwrap();
            encoded.entries.iter().for_each(|&(index, value)| missing[index as usize] -= value);
            let lost = missing.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / all;
            assert!((lost / expected - 1.0).abs() < 0.1, "{bits} bits: {lost}");
            assert!(encoded.payload.len() <= 4096 * usize::from(bits) / 8 + 20);
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let layout = layout_of(&[2]);
        let golden = [ID, 2, 9, 9, 9, 9, 1, 0, 0x3f, 0b10];
        let error = |changes: &[(usize, u8)], len: usize| {
            let mut bytes = golden.to_vec();
            changes.iter().for_each(|&(at, byte)| bytes[at] = byte);
            crate::decode_update(&layout, 2, &seal(bytes[..len].to_vec())).unwrap_err().to_string()
        };
        assert!(crate::decode_update(&layout, 2, &seal(golden.to_vec())).is_ok());
        assert_eq!(error(&[(1, 3)], 10), "byte 1: number of values should be 2, found 3");
        assert_eq!(error(&[(6, 0)], 10), "byte 6: value bits is 0, outside 1 to 4");
        assert_eq!(error(&[(6, 5)], 10), "byte 6: value bits is 5, outside 1 to 4");
        assert_eq!(error(&[(8, 0xff)], 10), "byte 9: a level is not in its one allowed form");
        assert_eq!(error(&[(9, 0b110)], 10), "byte 10: the padding is not in its one allowed form");
        assert_eq!(error(&[], 9), "byte 9: the bytes end too early");
        assert_eq!(error(&[], 7), "byte 7: the bytes end too early");
    }
}
