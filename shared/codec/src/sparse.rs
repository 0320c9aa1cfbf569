//! Private top-k: the most important values, as gaps between their indices and their excess over a threshold.
//!
//! Gaps are Rice-coded, within half a percent of the entropy of a uniform mask; consecutive tensors form segments with a
//! parameter and levels of their own, chosen by counted bits. Sizes, reasons and the exact bytes: FORMAT.md.

mod levels;
mod segment;

use params::Layout;

use crate::bits::{BitReader, BitWriter};
use crate::frame::{Reader, put_varint, seal};
use crate::select::{Score, select, shares};
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, Settings, SettingsError, check_values};
use levels::Levels;

const ID: u8 = 2;
/// Largest Rice parameter of gaps; beyond, no layout has enough values to gain from it.
const GAP_RICE_MAX: usize = 20;
/// Most bits per value.
const VALUE_BITS_MAX: u8 = 8;

pub(crate) const ENTRY: Entry = Entry {
    name: "sparse",
    id: ID,
    description: "the largest values only (default): Rice-coded gaps, quantised excess over the threshold",
    build: |settings| Sparse::new(settings).map(|codec| Box::new(codec) as Box<dyn Codec>),
    decode,
};

#[derive(Debug)]
struct Sparse {
    density: f32,
    floor: f32,
    value_bits: u8,
    score: Score,
}

impl Sparse {
    fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let &Settings { density, floor, value_bits, score } = settings;
        if !(density > 0.0 && density <= 1.0) {
            let found = density.to_string();
            return Err(SettingsError::Range { what: "density", found, range: "above 0 to 1" });
        }
        if !(0.0..=density).contains(&floor) {
            let found = floor.to_string();
            return Err(SettingsError::Range { what: "floor", found, range: "0 to the density" });
        }
        if !(1..=VALUE_BITS_MAX).contains(&value_bits) {
            let found = value_bits.to_string();
            return Err(SettingsError::Range { what: "value bits", found, range: "1 to 8" });
        }
        Ok(Self { density, floor, value_bits, score })
    }
}

impl Codec for Sparse {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let mut entries = select(layout, values, self.density, self.floor, self.score);
        let segments = segment::divide(layout, &entries);
        let mut bytes = vec![ID];
        put_varint(&mut bytes, layout.len() as u32);
        bytes.push(self.value_bits);
        put_varint(&mut bytes, segments.len() as u32);
        let mut levels = Vec::with_capacity(segments.len());
        let mut rest = entries.as_slice();
        for segment in &segments {
            let (mine, later) = rest.split_at(segment.count);
            rest = later;
            let fitted = Levels::fit(mine, self.value_bits);
            put_varint(&mut bytes, segment.tensors as u32);
            put_varint(&mut bytes, segment.count as u32);
            bytes.push(segment.rice as u8);
            fitted.write(&mut bytes);
            levels.push(fitted);
        }

        let mut stream = BitWriter::after(bytes);
        let mut rest = entries.as_mut_slice();
        for (segment, levels) in segments.iter().zip(&levels) {
            let (mine, later) = rest.split_at_mut(segment.count);
            rest = later;
            let mut next = segment.start as u32;
            for (index, value) in mine {
                stream.put_rice(*index - next, segment.rice);
                next = *index + 1;
                // From here on the entries are what the decoder will see.
                *value = levels.put(*value, &mut stream);
            }
        }
        Ok(Encoded { payload: seal(stream.finish()), entries })
    }

    fn entries_max(&self, layout: &Layout) -> usize {
        let (count, _) = shares(layout, self.density, self.floor);
        count
    }

    /// Selection keeps a share c: of the values outside the tensors held to their floors at least the share that is
    /// sent, or of every tensor at least its floor. Levels lose at most a third of that with 3 bits or more
    /// (sparse/levels.rs); with fewer there is no bound below "does not grow".
    fn kept(&self, layout: &Layout) -> f64 {
        if layout.is_empty() || self.value_bits < 3 {
            return 0.0;
        }
        let (count, floors) = shares(layout, self.density, self.floor);
        let floored: usize = floors.iter().sum();
        let by_floor =
            layout.tensors().iter().zip(&floors).map(|(tensor, &floor)| floor as f64 / tensor.len as f64);
        let by_floor = by_floor.fold(1.0, f64::min);
        let by_rank = match self.score {
            Score::Magnitude if layout.len() > floored => {
                (count - floored) as f64 / (layout.len() - floored) as f64
            }
            Score::Magnitude | Score::Relative => 0.0,
        };
        by_floor.max(by_rank) / 2.0
    }
}

/// A segment as read: where its tensors end, how many entries, how they are coded.
struct Header {
    end: usize,
    count: usize,
    rice: u32,
    levels: Levels,
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    reader.expect("number of values", layout.len())?;
    let value_bits = reader.u8()?;
    if !(1..=VALUE_BITS_MAX).contains(&value_bits) {
        let (found, max) = (u64::from(value_bits), u64::from(VALUE_BITS_MAX));
        return Err(reader.error(Rule::Range { what: "value bits", found, min: 1, max }));
    }
    let tensors = layout.tensors();
    let segments = reader.bounded("number of segments", 0, tensors.len().min(reader.remaining()))?;
    let mut headers = Vec::with_capacity(segments);
    let (mut tensor, mut entries, mut bits) = (0, 0, 0);
    for _ in 0..segments {
        let start = if tensor == 0 { 0 } else { tensors[tensor - 1].range().end };
        tensor += reader.bounded("tensors of a segment", 1, tensors.len() - tensor)?;
        let end = tensors[tensor - 1].range().end;
        let most = (end - start).min(max_entries - entries);
        let count = reader.bounded("entries of a segment", 1, most)?;
        let rice = reader.bounded("Rice parameter", 0, GAP_RICE_MAX)? as u32;
        let levels = Levels::read(&mut reader, value_bits)?;
        entries += count;
        bits += count as u64 * u64::from(1 + rice + levels.bits_min());
        headers.push(Header { end, count, rice, levels });
    }
    // Nothing is allocated for entries that the bytes cannot hold.
    if bits > 8 * reader.remaining() as u64 {
        return Err(reader.error(Rule::Truncated));
    }
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let mut decoded = Vec::with_capacity(entries);
    let mut start = 0;
    for Header { end, count, rice, levels } in headers {
        let mut next = start;
        for _ in 0..count {
            let index = next + stream.get_rice(rice)? as usize;
            if index >= end {
                let (found, min, max) = (index as u64, start as u64, end as u64 - 1);
                return Err(stream.error(Rule::Range { what: "index", found, min, max }));
            }
            next = index + 1;
            decoded.push((index as u32, levels.get(&mut stream)?));
        }
        start = end;
    }
    stream.end()?;
    Ok(decoded)
}
