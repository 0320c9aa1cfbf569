//! Private top-k: the most important values, as gaps between their indices and their excess over a threshold.
//!
//! Gaps are Rice-coded, within half a percent of the entropy of a uniform mask; tensors form a few classes, each with a
//! parameter and levels of its own, chosen by counted bits. Reasons and the exact bytes: FORMAT.md.

mod budget;
mod classes;
mod decode;
mod levels;

use params::{Layout, Tensor};

use crate::bits::{BitWriter, rice_bits_of_all};
use crate::frame::{Reader, put_varint, seal};
use crate::held::{Held, Sum};
use crate::int8::{self, Int8};
use crate::select::{Score, Source, select, shares};
use crate::{Codec, EncodeError, Encoded, Entry, Settings, SettingsError, check_length};
use classes::{Classes, number_bits};
pub(crate) use decode::decode_bits;
use levels::Levels;

const ID: u8 = 2;
/// Largest Rice parameter of gaps; beyond, no layout has enough values to gain from it.
const GAP_RICE_MAX: usize = 20;
/// Largest Rice parameter of runs of lower levels.
const RUN_RICE_MAX: usize = 7;
/// Most classes of tensors.
const CLASSES_MAX: usize = 32;
/// Most bits per value.
const VALUE_BITS_MAX: u8 = 8;

pub(crate) const ENTRY: Entry = Entry {
    name: "sparse",
    id: ID,
    description: "the largest values only (default): Rice-coded gaps, quantised excess over the threshold",
    build: |settings| Sparse::new(ID, settings).map(|codec| Box::new(codec) as Box<dyn Codec>),
    decode: |layout: &Layout, max_entries, reader: Reader<'_>| {
        decode_bits(layout, max_entries, reader, 1, VALUE_BITS_MAX)
    },
    form: None,
};

#[derive(Debug)]
pub(crate) struct Sparse {
    id: u8,
    density: f32,
    floor: f32,
    value_bits: u8,
    score: Score,
    budget: Option<u32>,
}

impl Sparse {
    pub(crate) fn new(id: u8, settings: &Settings) -> Result<Self, SettingsError> {
        settings.check_density()?;
        let &Settings { density, floor, value_bits, score, budget, .. } = settings;
        if !(0.0..=density).contains(&floor) {
            let found = floor.to_string();
            return Err(SettingsError::Range { what: "floor", found, range: "0 to the density" });
        }
        if !(1..=VALUE_BITS_MAX).contains(&value_bits) {
            let found = value_bits.to_string();
            return Err(SettingsError::Range { what: "value bits", found, range: "1 to 8" });
        }
        Ok(Self { id, density, floor, value_bits, score, budget })
    }

    fn encode_from(&self, layout: &Layout, source: &mut impl Source) -> Result<Encoded, EncodeError> {
        let encoded = match self.budget {
            Some(budget) => self.fit(layout, source, budget)?,
            None => {
                let (count, floors) = shares(layout, self.density, self.floor);
                self.write(layout, select(layout, source, count, floors, self.score)?)
            }
        };
        if self.may_be_dense(layout) && encoded.payload.len() > int8::bytes_max(layout) {
            let tensors = layout.tensors().iter().enumerate();
            let values = tensors.map(|(number, tensor)| source.again(number, tensor.range()).into_owned());
            return Int8.encode(layout, &values.collect::<Vec<_>>().concat());
        }
        Ok(encoded)
    }

    /// Whether so much is sent that 8 bits for every value may be less; a receiver has to know.
    fn may_be_dense(&self, layout: &Layout) -> bool {
        let dense = int8::bytes_max(layout);
        self.budget.map_or_else(
            || {
                let (len, (count, _)) = (layout.len() as f64, shares(layout, self.density, self.floor));
                let bits = (len / count as f64).log2() + 3.5 + f64::from(self.value_bits);
                count as f64 * bits > 8.0 * dense as f64
            },
            |budget| budget as usize > dense,
        )
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
        let mut tensors = Cursor::new(layout);
        let levels_of = |&(index, value): &(u32, f32), tensors: &mut Cursor<'_>| {
            let levels = levels[usize::from(of_tensor[tensors.find(index)])];
            (levels, levels.level(value))
        };

        let mut bytes = vec![self.id];
        put_varint(&mut bytes, layout.len() as u32);
        put_varint(&mut bytes, entries.len() as u32);
        bytes.extend([self.value_bits, rices.len() as u8]);
        let mut runs = Runs::default();
        if self.value_bits == 2 && !entries.is_empty() {
            runs = Runs::between(entries.iter().map(|entry| levels_of(entry, &mut tensors).1 == 1));
            tensors = Cursor::new(layout);
            bytes.push(runs.rice as u8);
        }
        for (&rice, levels) in rices.iter().zip(&levels) {
            bytes.push(rice as u8);
            levels.write(&mut bytes);
        }
        let mut stream = BitWriter::after(bytes);
        of_tensor.iter().for_each(|&class| stream.put(class.into(), number_bits(rices.len())));
        runs.put(&mut stream);
        let mut begins = Cursor::new(layout);
        let mut next = 0;
        for entry in &mut entries {
            let rice = rices[usize::from(of_tensor[begins.find(next)])];
            let sign = u32::from(entry.1.is_sign_negative());
            stream.put_rice_and_bit(entry.0 - next, rice, sign);
            next = entry.0 + 1;
            let (levels, level) = levels_of(entry, &mut tensors);
            match self.value_bits {
                1 => {}
                2 if level == 1 => runs.put(&mut stream),
                2 => {}
                bits => stream.put_rice(level, u32::from(bits) - 3),
            }
            // From here on the entries are what the decoder will see.
            entry.1 = levels.value(sign, level);
        }
        Encoded { payload: seal(stream.finish()), entries }
    }
}

impl Codec for Sparse {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        check_length(layout, values)?;
        self.encode_from(layout, &mut { values })
    }

    fn encode_sum(
        &self,
        layout: &Layout,
        values: &mut [f32],
        held: &Held<'_>,
    ) -> Result<Encoded, EncodeError> {
        check_length(layout, values)?;
        self.encode_from(layout, &mut Sum::new(values, held))
    }

    fn entries_max(&self, layout: &Layout) -> usize {
        if self.may_be_dense(layout) {
            return layout.len();
        }
        match self.budget {
            Some(budget) => {
                layout.len().min(8 * budget as usize / (1 + Levels::bits_min(self.value_bits) as usize))
            }
            None => shares(layout, self.density, self.floor).0,
        }
    }

    /// Selection keeps a share c: of the values outside the tensors held to their floors at least the share that is
    /// sent, or of every tensor at least its floor. Levels lose at most a third of that with 3 bits or more
    /// (sparse/levels.rs); with fewer, and with a budget instead of a share, there is no bound below "does not grow".
    fn kept(&self, layout: &Layout) -> f64 {
        if layout.is_empty() || self.value_bits < 3 || self.budget.is_some() {
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

/// With 2 bits a value: how many entries of the lower level precede each of the upper one, and at last the end. The upper
/// level is the rarer one, so this costs less than a bit for each.
#[derive(Debug, Default)]
struct Runs {
    lens: std::vec::IntoIter<u32>,
    rice: u32,
}

impl Runs {
    fn between(upper: impl ExactSizeIterator<Item = bool>) -> Self {
        // Where they are, written whether they are or not: which ones are cannot be foreseen.
        let mut lens = vec![0; upper.len() + 1];
        let mut found = 0;
        for (position, upper) in (0..).zip(upper) {
            lens[found] = position;
            found += usize::from(upper);
        }
        lens[found] = lens.len() as u32 - 1;
        lens.truncate(found + 1);
        for number in (1..=found).rev() {
            lens[number] -= lens[number - 1] + 1;
        }
        let bits = rice_bits_of_all::<{ RUN_RICE_MAX + 1 }>(&lens);
        let rice = (0..).zip(bits).min_by_key(|&(_, bits)| bits).map_or(0, |best| best.0);
        Self { lens: lens.into_iter(), rice }
    }

    /// Writes the next run, if there are any.
    fn put(&mut self, stream: &mut BitWriter) {
        if let Some(len) = self.lens.next() {
            stream.put_rice(len, self.rice);
        }
    }
}

#[cfg(test)]
mod tests;
