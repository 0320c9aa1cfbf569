//! Every value as f32: 4 bytes a value, nothing lost. The row all others are compared with.

use params::Layout;

use crate::frame::{Reader, put_varint, seal};
use crate::tiles::Form;
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, Settings, check_values};

const ID: u8 = 0;

pub(crate) const ENTRY: Entry = Entry {
    name: "dense",
    id: ID,
    description: "every value as f32, exact (for comparison)",
    build: |_: &Settings| Ok(Box::new(Dense)),
    decode,
    form: Some(Form {
        head: 0,
        block: 1,
        lead: 0,
        width: 4,
        check_head: |_| Ok(()),
        decode: decode_words,
        words: true,
    }),
};

#[derive(Debug)]
struct Dense;

impl Codec for Dense {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let mut bytes = Vec::with_capacity(4 * values.len() + 16);
        bytes.push(ID);
        put_varint(&mut bytes, values.len() as u32);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entries = values.iter().enumerate().map(|(index, &value)| (index as u32, value)).collect();
        Ok(Encoded { payload: seal(bytes), entries })
    }

    fn kept(&self, _: &Layout) -> f64 {
        1.0
    }
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    let count = check_count(layout, max_entries, &mut reader)?;
    let start = reader.offset();
    let bytes = reader.take(4 * count)?;
    reader.end()?;
    let mut entries = Vec::with_capacity(count);
    for (index, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
        let value = f32::from_le_bytes(*word);
        if !value.is_finite() {
            let rule = Rule::NotFinite { what: "a value" };
            return Err(DecodeError { offset: start + 4 * index, rule });
        }
        entries.push((index as u32, value));
    }
    Ok(entries)
}

fn decode_words(_head: &[u8], words: &[u8], values: &mut [f32]) -> Result<(), DecodeError> {
    for (value, word) in values.iter_mut().zip(words.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*word);
    }
    Ok(())
}

/// Whether all values are finite and of at most this magnitude.
pub(crate) fn words_fit(words: &[[u8; 4]], largest: f32) -> bool {
    let fits = |word: &[u8; 4]| f32::from_le_bytes(*word).abs() <= largest;
    // Without an exit, several values are looked at at a time.
    words.iter().map(|word| u32::from(!fits(word))).fold(0, |any, bad| any | bad) == 0
}

/// Refuses values that are not finite; each takes `width` bytes.
pub(crate) fn check_finite(values: &[f32], width: usize) -> Result<(), DecodeError> {
    // Without an exit, several values are looked at at a time.
    if values.iter().map(|value| u32::from(!value.is_finite())).fold(0, |any, bad| any | bad) == 0 {
        return Ok(());
    }
    let position = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(DecodeError { offset: width * position, rule: Rule::NotFinite { what: "a value" } })
}

/// Reads the number of values, which both layout and limit must agree with.
pub(crate) fn check_count(
    layout: &Layout,
    max_entries: usize,
    reader: &mut Reader<'_>,
) -> Result<usize, DecodeError> {
    reader.expect("number of values", layout.len())?;
    if layout.len() > max_entries {
        let (found, max) = (layout.len() as u64, max_entries as u64);
        return Err(reader.error(Rule::Range { what: "number of entries", found, min: 0, max }));
    }
    Ok(layout.len())
}
