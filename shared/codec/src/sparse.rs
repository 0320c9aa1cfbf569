//! Private top-k: the most important values, as gaps between their indices and their excess over a threshold.
//!
//! Gaps are Rice-coded, within half a percent of the entropy of a uniform mask; tensors form a few classes, each with a
//! parameter and levels of its own, chosen by counted bits. Reasons and the exact bytes: FORMAT.md.

mod classes;
mod levels;

use params::{Layout, Tensor};

use crate::bits::{BitReader, BitWriter};
use crate::frame::{Reader, put_varint, seal};
use crate::held::{Held, Sum};
use crate::select::{Score, select, shares};
use crate::{Codec, DecodeError, EncodeError, Encoded, Entry, Rule, Settings, SettingsError, check_length};
use classes::{Classes, number_bits};
use levels::Levels;

const ID: u8 = 2;
/// Largest Rice parameter of gaps; beyond, no layout has enough values to gain from it.
const GAP_RICE_MAX: usize = 20;
/// Most classes of tensors.
const CLASSES_MAX: usize = 32;
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

    /// Writes what is selected.
    fn write(&self, layout: &Layout, mut entries: Vec<(u32, f32)>) -> Encoded {
        let Classes { of_tensor, rices, counts } = classes::divide(layout, &entries);
        let mut magnitudes: Vec<Vec<f32>> = counts.into_iter().map(Vec::with_capacity).collect();
        let mut tensors = Cursor::new(layout);
        for &(index, value) in &entries {
            magnitudes[usize::from(of_tensor[tensors.find(index)])].push(value.abs());
        }
        let levels: Vec<Levels> =
            magnitudes.iter().map(|class| Levels::fit(class, self.value_bits)).collect();

        let mut bytes = vec![ID];
        put_varint(&mut bytes, layout.len() as u32);
        put_varint(&mut bytes, entries.len() as u32);
        bytes.extend([self.value_bits, rices.len() as u8]);
        for (&rice, levels) in rices.iter().zip(&levels) {
            bytes.push(rice as u8);
            levels.write(&mut bytes);
        }
        let mut stream = BitWriter::after(bytes);
        of_tensor.iter().for_each(|&class| stream.put(class.into(), number_bits(rices.len())));
        let mut tensors = Cursor::new(layout);
        let mut next = 0;
        for (index, value) in &mut entries {
            let rice = rices[usize::from(of_tensor[tensors.find(next)])];
            stream.put_rice(*index - next, rice);
            next = *index + 1;
            // From here on the entries are what the decoder will see.
            *value = levels[usize::from(of_tensor[tensors.find(*index)])].put(*value, &mut stream);
        }
        Encoded { payload: seal(stream.finish()), entries }
    }
}

impl Codec for Sparse {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_length(layout, values)?;
        let mut values = values;
        Ok(self.write(layout, select(layout, &mut values, self.density, self.floor, self.score)?))
    }

    fn encode_sum(
        &self,
        layout: &Layout,
        values: &mut [f32],
        held: &Held<'_>,
    ) -> Result<Encoded, EncodeError> {
        check_length(layout, values)?;
        let mut sum = Sum::new(values, held);
        Ok(self.write(layout, select(layout, &mut sum, self.density, self.floor, self.score)?))
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

/// Finds the tensor of one index after another, in increasing order.
struct Cursor<'a> {
    tensors: &'a [Tensor],
    number: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn new(layout: &'a Layout) -> Self {
        let tensors = layout.tensors();
        Self { tensors, number: 0, end: tensors.first().map_or(0, |tensor| tensor.len) }
    }

    /// The number of the tensor that holds `index`, which is within the layout.
    fn find(&mut self, index: u32) -> usize {
        while index as usize >= self.end {
            self.number += 1;
            self.end = self.tensors[self.number].range().end;
        }
        self.number
    }
}

/// How the entries of a class are coded.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    rice: u32,
    levels: Levels,
}

fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    reader.expect("number of values", layout.len())?;
    let count = reader.bounded("number of entries", 0, layout.len().min(max_entries))?;
    let value_bits = reader.byte("value bits", 1, VALUE_BITS_MAX)?;
    let most = if count == 0 { 0 } else { CLASSES_MAX as u8 };
    let mut classes = Vec::new();
    for _ in 0..reader.byte("number of classes", most.min(1), most)? {
        let rice = reader.byte("Rice parameter", 0, GAP_RICE_MAX as u8)?;
        classes.push(Class { rice: u32::from(rice), levels: Levels::read(&mut reader, value_bits)? });
    }
    // Nothing is allocated for entries that the bytes cannot hold.
    let bits = count as u64 * u64::from(1 + Levels::bits_min(value_bits));
    if bits > 8 * reader.remaining() as u64 {
        return Err(reader.error(Rule::Truncated));
    }
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let mut of_tensor = Vec::new();
    if count > 0 {
        for _ in layout.tensors() {
            let number = stream.get(number_bits(classes.len()))?;
            let (found, max) = (u64::from(number), classes.len() as u64 - 1);
            let class = classes.get(number as usize).copied();
            let outside = Rule::Range { what: "class of a tensor", found, min: 0, max };
            of_tensor.push(class.ok_or_else(|| stream.error(outside))?);
        }
    }
    let mut tensors = layout.tensors().iter().map(|tensor| tensor.range().end as u64).zip(of_tensor);
    let (mut end, mut class) = tensors.next().unwrap_or_default();
    let mut entries = Vec::with_capacity(count);
    let mut next = 0;
    for _ in 0..count {
        let mut index = next;
        // First the tensor in which the gap begins, then that in which it ends.
        for gap_read in [false, true] {
            while index >= end {
                let Some(following) = tensors.next() else {
                    let max = layout.len() as u64 - 1;
                    return Err(stream.error(Rule::Range { what: "index", found: index, min: 0, max }));
                };
                (end, class) = following;
            }
            if !gap_read {
                index += u64::from(stream.get_rice(class.rice)?);
            }
        }
        entries.push((index as u32, class.levels.get(&mut stream)?));
        next = index + 1;
    }
    stream.end()?;
    Ok(entries)
}

#[cfg(test)]
mod tests;
