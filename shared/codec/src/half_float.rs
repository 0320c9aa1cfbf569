//! Every value as f16 relative to a power of two per tensor: 2 bytes a value, 11 significant bits.

use half::f16;
use params::Layout;

use crate::dense::{check_count, check_finite};
use crate::frame::{Reader, put_varint, seal};
use crate::tiles::Form;
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, Settings, check_values};

const ID: u8 = 1;

/// The largest magnitude of a tensor is scaled into [2^14, 2^15): far from overflow at 2^16, and 28 binary digits above
/// where f16 loses precision.
const TOP: i32 = 14;
/// Exponents of anything an f32 can hold, subnormals included.
const EXPONENTS: std::ops::RangeInclusive<i32> = -149 - TOP..=127 - TOP;

pub(crate) const ENTRY: Entry = Entry {
    name: "half",
    id: ID,
    description: "every value as f16, scaled per tensor",
    build: |_: &Settings| Ok(Box::new(HalfFloat)),
    decode,
    form: Some(Form { head: 2, block: 1, lead: 0, width: 2, check_head, decode: decode_halves }),
};

#[derive(Debug)]
struct HalfFloat;

impl Codec for HalfFloat {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let mut bytes = Vec::with_capacity(2 * values.len() + 2 * layout.tensors().len() + 16);
        bytes.push(ID);
        put_varint(&mut bytes, values.len() as u32);
        let mut entries = Vec::with_capacity(values.len());
        for tensor in layout.tensors() {
            let values = &values[tensor.range()];
            let exponent = exponent_for(values);
            bytes.extend_from_slice(&(exponent as i16).to_le_bytes());
            let (down, up) = (f64::from(-exponent).exp2(), f64::from(exponent).exp2());
            for (position, &value) in values.iter().enumerate() {
                let half = f16::from_f64(f64::from(value) * down);
                bytes.extend_from_slice(&half.to_le_bytes());
                entries.push(((tensor.offset + position) as u32, (half.to_f64() * up) as f32));
            }
        }
        Ok(Encoded { payload: seal(bytes), entries })
    }

    /// Rounding costs at most 2^-11 of a value, or 2^-39 of its tensor's largest one.
    fn kept(&self, _: &Layout) -> f64 {
        1.0 - f64::from(-21).exp2()
    }
}

fn exponent_for(values: &[f32]) -> i32 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 { 0 } else { f64::from(largest).log2().floor() as i32 - TOP }
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    let count = check_count(layout, max_entries, &mut reader)?;
    if reader.remaining() < 2 * (count + layout.tensors().len()) {
        return Err(reader.error(Rule::Truncated));
    }
    let mut entries = Vec::with_capacity(count);
    for tensor in layout.tensors() {
        let begin = reader.offset();
        let head = reader.array::<2>()?;
        check_head(&head).map_err(|error| error.behind(begin))?;
        let exponent = exponent_of(&head);
        let up = f64::from(exponent).exp2();
        let start = reader.offset();
        let halves = reader.take(2 * tensor.len)?.as_chunks::<2>().0;
        for (position, half) in halves.iter().enumerate() {
            let value = (f16::from_le_bytes(*half).to_f64() * up) as f32;
            if !value.is_finite() {
                let rule = Rule::NotFinite { what: "a value" };
                return Err(DecodeError { offset: start + 2 * position, rule });
            }
            entries.push(((tensor.offset + position) as u32, value));
        }
    }
    reader.end()?;
    Ok(entries)
}

fn exponent_of(head: &[u8]) -> i32 {
    i32::from(i16::from_le_bytes([head[0], head[1]]))
}

fn check_head(head: &[u8]) -> Result<(), DecodeError> {
    let known = EXPONENTS.contains(&exponent_of(head));
    let rule = Rule::Form { what: "the exponent of a tensor" };
    if known { Ok(()) } else { Err(DecodeError { offset: head.len(), rule }) }
}

fn decode_halves(head: &[u8], halves: &[u8], values: &mut [f32]) -> Result<(), DecodeError> {
    let up = f64::from(exponent_of(head)).exp2();
    for (value, half) in values.iter_mut().zip(halves.as_chunks::<2>().0) {
        *value = (f16::from_le_bytes(*half).to_f64() * up) as f32;
    }
    check_finite(values, 2)
}
