//! Values at places that both sides can work out, so that only values are sent.
//!
//! Every tensor is divided into as many stretches of (nearly) equal length as values are sent of it, and of each stretch one place is
//! drawn: every value is equally likely, the places come in order, and there is no tensor without one. What is drawn is a
//! share of the values and not the largest of them, which keeps far less of an update than `sparse` does for its bytes; but
//! all devices with one mask send the same places, which sums under secure aggregation, medians and noise need.
//!
//! Values are whole multiples of a step, one for each run of values: the one of a few candidates that loses least. Multiples are written in
//! as many bits as their frequencies allow, unless so many bits for each are hardly more.

mod rans;
mod steps;

use params::Layout;

use crate::bits::{BitReader, BitWriter};
use crate::frame::{Reader, put_varint, read_step, seal};
use crate::random::Random;
use crate::{DecodeError, EncodeError, Encoded, Rule, Settings, SettingsError, check_values};
use steps::RUN;

/// Header and checksum, at most.
const AROUND: usize = 1 + 5 + 4 + 5 + 2 + 4;

/// Values at the places of a mask.
#[derive(Debug)]
pub(crate) struct Masked {
    density: f32,
    value_bits: u8,
    budget: Option<u32>,
}

impl Masked {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check_density()?;
        let &Settings { density, value_bits, budget, .. } = settings;
        if !(2..=8).contains(&value_bits) {
            let found = value_bits.to_string();
            return Err(SettingsError::Range { what: "value bits", found, range: "2 to 8" });
        }
        Ok(Self { density, value_bits, budget })
    }

    /// How many values are sent: the share that is asked for or the most that fit, and at least one of each tensor.
    pub(crate) fn count(&self, layout: &Layout) -> usize {
        let share = (f64::from(self.density) * layout.len() as f64).round() as usize;
        let count = self.budget.map_or(share, |budget| {
            let bits = 8 * (budget as usize).saturating_sub(AROUND);
            // A run costs its step and its values.
            let (run, rest) = (16 + RUN * usize::from(self.value_bits), bits);
            rest / run * RUN + (rest % run).saturating_sub(16) / usize::from(self.value_bits)
        });
        count.clamp(layout.tensors().len().min(layout.len()), layout.len())
    }

    pub(crate) fn encode(
        &self,
        id: u8,
        seed: u32,
        layout: &Layout,
        values: &[f32],
    ) -> Result<Encoded, EncodeError> {
        check_values(layout, values)?;
        let count = self.count(layout);
        let mut places = Vec::with_capacity(count);
        each_place(layout, count, seed).for_each(|place| places.push(place));
        let sent: Vec<f32> = places.iter().map(|&place| values[place]).collect();
        let most = most(self.value_bits);
        let mut scales = Vec::with_capacity(2 * count.div_ceil(RUN));
        let mut multiples = Vec::with_capacity(count);
        let mut entries = Vec::with_capacity(count);
        for (places, run) in places.chunks(RUN).zip(sent.chunks(RUN)) {
            let step = steps::best(run, most);
            scales.extend_from_slice(&step.to_le_bytes());
            let step = step.to_f32();
            for (&place, &value) in places.iter().zip(run) {
                let multiple = steps::multiple(value, step, most);
                multiples.push(multiple);
                push_nonzero(place, multiple, step, &mut entries);
            }
        }

        let mut bytes = vec![id];
        put_varint(&mut bytes, layout.len() as u32);
        bytes.extend_from_slice(&seed.to_le_bytes());
        put_varint(&mut bytes, count as u32);
        bytes.push(self.value_bits);
        let fixed = (count * usize::from(self.value_bits)).div_ceil(8);
        let coded = if multiples.is_empty() { Vec::new() } else { rans::encode(&multiples, most) };
        // Frequencies where they save 2 of 100 bytes.
        let saves = 50 * coded.len() < 49 * fixed;
        bytes.push(u8::from(saves));
        bytes.extend(scales);
        if saves {
            bytes.extend(coded);
            return Ok(Encoded { payload: seal(bytes), entries });
        }
        let mut stream = BitWriter::after(bytes);
        // The lowest number stands for the most negative multiple.
        let numbers = multiples.iter().map(|&multiple| (i32::from(multiple) + i32::from(most)) as u32);
        numbers.for_each(|number| stream.put(number, self.value_bits.into()));
        Ok(Encoded { payload: seal(stream.finish()), entries })
    }
}

/// The largest multiple: with 4 bits, 7.
fn most(value_bits: u8) -> u8 {
    (1 << (value_bits - 1)) - 1
}

fn push_nonzero(place: usize, multiple: i8, step: f32, entries: &mut Vec<(u32, f32)>) {
    if multiple != 0 {
        entries.push((place as u32, f32::from(multiple) * step));
    }
}

/// The `count` places of a mask, in order; `count` is from the number of tensors to the number of values. Best gone through from
/// within (`for_each`): tensor by tensor, without asking for every place which one it is in.
fn each_place(layout: &Layout, count: usize, seed: u32) -> impl Iterator<Item = usize> {
    let mut random = Random::new(seed);
    let (len, count) = (layout.len() as u64, count as u64);
    let tensors = layout.tensors().len() as u64;
    // One for each tensor, the others by length: `so_far` values have (so_far - tensors before) * spare / room of them.
    let (spare, room) = (count - tensors, (len - tensors).max(1));
    let before = move |number: u64, offset: u64| number + (offset - number) * spare / room;
    let stretches = (0_u64..).zip(layout.tensors()).flat_map(move |(number, tensor)| {
        let (start, end) = (tensor.offset as u64, tensor.range().end as u64);
        let parts = before(number + 1, end) - before(number, start);
        // From start + (end - start) * part / parts on; one step after the other, since divisions are slow.
        let (len, left) = ((end - start) / parts.max(1), (end - start) % parts.max(1));
        (0..parts).scan((start, 0), move |(from, owed), _| {
            *owed += left;
            let more = u64::from(*owed >= parts);
            *owed -= more * parts;
            let stretch = (*from, len + more);
            *from += len + more;
            Some(stretch)
        })
    });
    stretches.map(move |(from, len)| (from + random.below(len)) as usize)
}

/// The seed of the mask and the entries.
pub(crate) fn decode(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    reader.expect("number of values", layout.len())?;
    let seed = u32::from_le_bytes(reader.array()?);
    let most_entries = layout.len().min(max_entries);
    let count = reader.bounded("number of entries", layout.tensors().len(), most_entries)?;
    let value_bits = reader.byte("value bits", 2, 8)?;
    let has_frequencies = reader.byte("coding", 0, 1)? == 1;
    let least = if has_frequencies {
        count.div_ceil(rans::PER_BYTE)
    } else {
        (count * usize::from(value_bits)).div_ceil(8)
    };
    if least > reader.remaining() {
        return Err(reader.error(Rule::Truncated));
    }
    let runs = count.div_ceil(RUN);
    let scales: Vec<f32> = (0..runs).map(|_| read_step(&mut reader)).collect::<Result<_, _>>()?;
    let most = most(value_bits);
    // All but zero cost a bit or more.
    let mut entries = Vec::with_capacity(count.min(8 * reader.remaining()));
    // Whether the multiple is one that may be there.
    let mut push = |number: usize, place: usize, multiple: i8| {
        let step = scales[number / RUN];
        push_nonzero(place, multiple, step, &mut entries);
        step > 0.0 || multiple == 0
    };
    let misplaced = || Rule::Form { what: "a value" };
    let mut places = each_place(layout, count, seed).enumerate();
    if has_frequencies {
        let mut stream = rans::Decoder::new(&mut reader, most)?;
        places.try_for_each(|(number, place)| {
            let multiple = stream.multiple()?;
            if push(number, place, multiple) { Ok(()) } else { Err(stream.error(misplaced())) }
        })?;
        stream.end()?;
    } else {
        let start = reader.offset();
        let mut stream = BitReader::new(reader.rest(), start);
        places.try_for_each(|(number, place)| {
            let code = stream.get(value_bits.into())?;
            let multiple = code as i16 - i16::from(most);
            let sound = multiple <= most.into() && push(number, place, multiple as i8);
            if sound { Ok(()) } else { Err(stream.error(misplaced())) }
        })?;
        stream.end()?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
