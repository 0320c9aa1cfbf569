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
    form: Some(Form {
        head: 2,
        block: 1,
        lead: 0,
        width: 2,
        check_head,
        decode: decode_halves,
        words: false,
    }),
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
        let mut decoded = Vec::new();
        for tensor in layout.tensors() {
            let start = bytes.len();
            put_halves(&values[tensor.range()], &mut bytes);
            let (head, halves) = bytes[start..].split_at(2);
            decoded.resize(tensor.len, 0.0);
            halves_to_values(head, halves, &mut decoded);
            entries.extend((tensor.offset as u32..).zip(decoded.iter().copied()));
        }
        Ok(Encoded { payload: seal(bytes), entries })
    }

    /// Rounding costs at most 2^-11 of a value, or 2^-39 of its tensor's largest one.
    fn kept(&self, _: &Layout) -> f64 {
        1.0 - f64::from(-21).exp2()
    }
}

/// Appends the power of two for these values, and the values as f16 relative to it.
pub(crate) fn put_halves(values: &[f32], bytes: &mut Vec<u8>) {
    let exponent = exponent_for(values);
    bytes.extend_from_slice(&(exponent as i16).to_le_bytes());
    let down = f64::from(-exponent).exp2();
    bytes.extend(values.iter().flat_map(|&value| half_of(value, down).to_le_bytes()));
}

/// Makes of each value what is read of it after [`put_halves`].
pub(crate) fn round_to_halves(values: &mut [f32]) {
    let exponent = exponent_for(values);
    let (down, up) = (f64::from(-exponent).exp2(), f64::from(exponent).exp2());
    values.iter_mut().for_each(|value| *value = value_of(half_of(*value, down), up));
}

fn half_of(value: f32, down: f64) -> f16 {
    // What is not exact in f32 any more is far too small for f16.
    f16::from_f32((f64::from(value) * down) as f32)
}

fn value_of(half: f16, up: f64) -> f32 {
    (f64::from(half.to_f32()) * up) as f32
}

/// Reads what [`put_halves`] appended for as many values; the power of two, which may be another one than it would choose.
pub(crate) fn read_halves(reader: &mut Reader<'_>, values: &mut [f32]) -> Result<i32, DecodeError> {
    let begin = reader.offset();
    let head = reader.array::<2>()?;
    check_head(&head).map_err(|error| error.behind(begin))?;
    let start = reader.offset();
    let halves = reader.take(2 * values.len())?;
    decode_halves(&head, halves, values).map_err(|error| error.behind(start))?;
    Ok(exponent_of(&head))
}

/// The power of two that puts the largest magnitude, as rounded, at 2^14 to 2^15.
pub(crate) fn exponent_for(values: &[f32]) -> i32 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0;
    }
    let exponent = f64::from(largest).log2().floor() as i32 - TOP;
    // Rounding may take it to the next power of two.
    let rounded = f16::from_f64(f64::from(largest) * f64::from(-exponent).exp2());
    exponent + i32::from(rounded.to_f64() >= f64::from(TOP + 1).exp2())
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
    let mut values = Vec::new();
    for tensor in layout.tensors() {
        values.resize(tensor.len, 0.0);
        read_halves(&mut reader, &mut values)?;
        entries.extend((tensor.offset as u32..).zip(values.iter().copied()));
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
    halves_to_values(head, halves, values);
    check_finite(values, 2)
}

fn halves_to_values(head: &[u8], halves: &[u8], values: &mut [f32]) {
    let up = f64::from(exponent_of(head)).exp2();
    for (value, half) in values.iter_mut().zip(halves.as_chunks::<2>().0) {
        *value = value_of(f16::from_le_bytes(*half), up);
    }
}
