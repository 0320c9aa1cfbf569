//! Values at places that both sides can work out, so that only values are sent.
//!
//! Every tensor is divided into as many stretches of (nearly) equal length as values are sent of it, and of each stretch one place is
//! drawn: every value is equally likely, the places come in order, and there is no tensor without one. What is drawn is a
//! share of the values and not the largest of them, which keeps far less of an update than `sparse` does for its bytes; but
//! all devices with one mask send the same places, which sums under secure aggregation, medians and noise need.
//!
//! Values are whole multiples of a step, one for each run of values: the one of a few candidates that loses least.

use half::bf16;
use params::Layout;

use crate::bits::{BitReader, BitWriter};
use crate::frame::{Reader, put_varint, read_step, seal};
use crate::random::Random;
use crate::{DecodeError, EncodeError, Encoded, Rule, Settings, SettingsError, check_values};

/// Values that share a step.
const RUN: usize = 512;
/// Header and checksum, at most.
const AROUND: usize = 1 + 5 + 4 + 5 + 1 + 4;
/// Candidates for a step: the largest magnitude over the largest multiple, and half octaves below.
const CANDIDATES: i32 = 16;

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
        let mut bytes = vec![id];
        put_varint(&mut bytes, layout.len() as u32);
        bytes.extend_from_slice(&seed.to_le_bytes());
        put_varint(&mut bytes, count as u32);
        bytes.push(self.value_bits);
        let places: Vec<usize> = places(layout, count, seed).collect();
        let sent: Vec<f32> = places.iter().map(|&place| values[place]).collect();
        let most = most(self.value_bits);
        let mut stream = BitWriter::default();
        let mut entries = Vec::with_capacity(count);
        for (places, run) in places.chunks(RUN).zip(sent.chunks(RUN)) {
            let step = best_step(run, most);
            bytes.extend_from_slice(&step.to_le_bytes());
            let step = step.to_f32();
            for (&place, &value) in places.iter().zip(run) {
                let steps = steps_of(value, step, most);
                // The lowest number stands for the most negative multiple.
                stream.put((steps + most) as u32, self.value_bits.into());
                push_nonzero(place, steps, step, &mut entries);
            }
        }
        bytes.extend_from_slice(&stream.finish());
        Ok(Encoded { payload: seal(bytes), entries })
    }
}

/// The largest multiple: with 4 bits, 7.
fn most(value_bits: u8) -> i32 {
    (1 << (value_bits - 1)) - 1
}

/// The nearest multiple of `step` that can be written.
fn steps_of(value: f32, step: f32, most: i32) -> i32 {
    if step == 0.0 {
        return 0;
    }
    let steps = (f64::from(value) / f64::from(step)).round() as i32;
    steps.clamp(-most, most)
}

/// The step that loses least of `values`. Every candidate is at least 2^-10 of the largest value: were a decoded value smaller
/// than that, what stays behind could not be exact in f32.
fn best_step(values: &[f32], most: i32) -> bf16 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let candidate = |halvings: i32| {
        let step = f64::from(largest) / f64::from(most) * (-0.5 * f64::from(halvings)).exp2();
        bf16::from_f64(step)
    };
    let lost = |step: bf16| {
        let step = step.to_f32();
        let each = |&value: &f32| {
            (f64::from(value) - f64::from(steps_of(value, step, most)) * f64::from(step)).powi(2)
        };
        values.iter().map(each).sum::<f64>()
    };
    let fine = |halvings: &i32| f64::from(most) * (0.5 * f64::from(*halvings)).exp2() <= 1024.0;
    let candidates = (0..CANDIDATES).filter(fine).map(candidate).map(|step| (lost(step), step));
    candidates.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(bf16::ZERO, |best| best.1)
}

fn push_nonzero(place: usize, steps: i32, step: f32, entries: &mut Vec<(u32, f32)>) {
    if steps != 0 {
        entries.push((place as u32, steps as f32 * step));
    }
}

/// The `count` places of a mask, in order; `count` is from the number of tensors to the number of values.
fn places(layout: &Layout, count: usize, seed: u32) -> impl Iterator<Item = usize> {
    let mut random = Random::new(seed);
    let (len, count) = (layout.len() as u64, count as u64);
    let tensors = layout.tensors().len() as u64;
    // One for each tensor, the others by length: `so_far` values have (so_far - tensors before) * spare / room of them.
    let (spare, room) = (count - tensors, (len - tensors).max(1));
    let before = move |number: u64, offset: u64| number + (offset - number) * spare / room;
    let stretches = (0_u64..).zip(layout.tensors()).flat_map(move |(number, tensor)| {
        let (start, end) = (tensor.offset as u64, tensor.range().end as u64);
        let parts = before(number + 1, end) - before(number, start);
        (0..parts).map(move |part| {
            let bound = |part: u64| start + (end - start) * part / parts;
            (bound(part), bound(part + 1))
        })
    });
    stretches.map(move |(start, end)| (start + random.below(end - start)) as usize)
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
    if (count * usize::from(value_bits)).div_ceil(8) > reader.remaining() {
        return Err(reader.error(Rule::Truncated));
    }
    let runs = count.div_ceil(RUN);
    let steps: Vec<f32> = (0..runs).map(|_| read_step(&mut reader)).collect::<Result<_, _>>()?;
    let start = reader.offset();
    let mut stream = BitReader::new(reader.rest(), start);
    let most = most(value_bits);
    let mut entries = Vec::with_capacity(count);
    for (number, place) in places(layout, count, seed).enumerate() {
        let code = stream.get(value_bits.into())? as i32;
        let (multiple, step) = (code - most, steps[number / RUN]);
        if multiple > most || (step == 0.0 && multiple != 0) {
            return Err(stream.error(Rule::Form { what: "a value" }));
        }
        push_nonzero(place, multiple, step, &mut entries);
    }
    stream.end()?;
    Ok(entries)
}

#[cfg(test)]
mod tests;
