//! Every value as a whole number of -127 to 127 times the step of its block: a little more than 1 byte a value.
//!
//! Blocks are short, so that one outlier spoils few others. The step is a 127th of the block's largest magnitude; values
//! are rounded to the nearest multiple, so what is decoded is at most twice the value and has its sign, and what stays
//! behind is exact in f32 (Sterbenz 1974).

use half::bf16;
use params::Layout;

use crate::dense::check_count;
use crate::frame::{Reader, put_varint, read_step, seal};
use crate::tiles::Form;
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, Settings, check_values};

const ID: u8 = 3;
/// Values that share a step.
const BLOCK: usize = 32;
/// Largest multiple of a step.
const MOST: f32 = 127.0;

pub(crate) const ENTRY: Entry = Entry {
    name: "int8",
    id: ID,
    description: "every value in 8 bits, scaled in blocks of 32",
    build: |_: &Settings| Ok(Box::new(Int8)),
    decode,
    form: Some(Form {
        head: 0,
        block: BLOCK,
        lead: 2,
        width: 1,
        check_head: |_| Ok(()),
        decode: decode_blocks,
        words: false,
    }),
};

#[derive(Debug)]
pub(crate) struct Int8;

/// Bytes of any message over `layout`, at most.
pub(crate) fn bytes_max(layout: &Layout) -> usize {
    let blocks: usize = layout.tensors().iter().map(|tensor| tensor.len.div_ceil(BLOCK)).sum();
    layout.len() + 2 * blocks + 10
}

impl Codec for Int8 {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let mut bytes = Vec::with_capacity(bytes_max(layout));
        bytes.push(ID);
        put_varint(&mut bytes, values.len() as u32);
        let mut entries = Vec::with_capacity(values.len());
        for tensor in layout.tensors() {
            for (number, block) in values[tensor.range()].chunks(BLOCK).enumerate() {
                let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let step = bf16::from_f32(largest / MOST);
                bytes.extend_from_slice(&step.to_le_bytes());
                let step = step.to_f32();
                let inverse = if step > 0.0 { 1.0 / f64::from(step) } else { 0.0 };
                let first = (tensor.offset + number * BLOCK) as u32;
                for (index, &value) in (first..).zip(block) {
                    // A cast saturates; the step may have been rounded down.
                    let steps = (f64::from(value) * inverse).round().clamp(-127.0, 127.0) as i8;
                    bytes.push(steps as u8);
                    push_nonzero(index, steps, step, &mut entries);
                }
            }
        }
        Ok(Encoded { payload: seal(bytes), entries })
    }

    /// Of a block at most 32 half steps are lost, and its largest value is 127 steps, or 126.5 where the step is rounded. (This
    /// ends where bf16 does, at magnitudes of 2^-118.)
    fn kept(&self, _: &Layout) -> f64 {
        1.0 - 8.0 / (126.5 * 126.5)
    }
}

fn push_nonzero(index: u32, steps: i8, step: f32, entries: &mut Vec<(u32, f32)>) {
    if steps != 0 {
        entries.push((index, f32::from(steps) * step));
    }
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    let count = check_count(layout, max_entries, &mut reader)?;
    if reader.remaining() < count {
        return Err(reader.error(Rule::Truncated));
    }
    let mut entries = Vec::with_capacity(count);
    for tensor in layout.tensors() {
        for start in tensor.range().step_by(BLOCK) {
            let step = read_step(&mut reader)?;
            let len = BLOCK.min(tensor.range().end - start);
            let block = reader.take(len)?;
            check_block(step, block).map_err(|rule| reader.error(rule))?;
            for (index, &steps) in (start as u32..).zip(block) {
                push_nonzero(index, steps as i8, step, &mut entries);
            }
        }
    }
    reader.end()?;
    Ok(entries)
}

fn check_block(step: f32, block: &[u8]) -> Result<(), Rule> {
    let zero = step == 0.0 && block.iter().any(|&steps| steps != 0);
    if zero || block.contains(&(i8::MIN as u8)) { Err(Rule::Form { what: "a block" }) } else { Ok(()) }
}

fn decode_blocks(_head: &[u8], bytes: &[u8], values: &mut [f32]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    for values in values.chunks_mut(BLOCK) {
        let step = read_step(&mut reader)?;
        let block = reader.take(values.len())?;
        check_block(step, block).map_err(|rule| reader.error(rule))?;
        for (value, &steps) in values.iter_mut().zip(block) {
            *value = f32::from(steps as i8) * step;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::layout_of;

    #[test]
    fn each_rule_is_checked() {
        let layout = layout_of(&[3, 33]);
        let mut golden = vec![ID, 36];
        golden.extend([0x80, 0x3f, 1, 0xff, 0]);
        golden.extend([0x80, 0x3f]);
        golden.extend([2; 32]);
        golden.extend([0, 0, 0]);
        let decoded = |bytes: &[u8], max| crate::decode_update(&layout, max, &seal(bytes.to_vec()));
        let entries = decoded(&golden, 36).unwrap();
        assert_eq!(entries[..3], [(0, 1.0), (1, -1.0), (3, 2.0)]);
        assert_eq!(entries.len(), 34);
        for (at, byte, expected) in [
            (1, 35, "byte 1: number of values should be 36, found 35"),
            (3, 0xbf, "byte 4: a level is not in its one allowed form"),
            (4, 0x80, "byte 7: a block is not in its one allowed form"),
            (43, 1, "byte 44: a block is not in its one allowed form"),
        ] {
            let mut changed = golden.clone();
            changed[at] = byte;
            assert_eq!(decoded(&changed, 36).unwrap_err().to_string(), expected);
        }
        let bounded = decoded(&golden, 35).unwrap_err().to_string();
        assert_eq!(bounded, "byte 2: number of entries is 36, outside 0 to 35");
        assert_eq!(decoded(&golden[..43], 36).unwrap_err().rule, Rule::Truncated);
        golden.push(0);
        assert_eq!(decoded(&golden, 36).unwrap_err().rule, Rule::Trailing { found: 1 });
    }
}
