//! Update compression: what a client sends is far smaller than what it learned, and nothing of it is lost.
//!
//! A [`Codec`] turns the values of the shared tensors into bytes; [`decode_update`] turns bytes back into `(index, value)`
//! pairs. Codecs are listed in [`REGISTRY`]. What a codec leaves out stays in the client's [`residual`] and goes with a
//! later update. [`statistics`] carries batch-norm statistics, [`snapshot`] whole published versions, [`delta`] what
//! leads from one to another, and [`account`] compares sizes with their limits. FORMAT.md specifies every byte.

use params::Layout;

pub mod account;
mod adaptive;
mod bits;
pub mod delta;
pub mod error;
mod frame;
mod held;
mod mask;
pub mod payload;
mod random;
pub mod residual;
mod select;
pub mod snapshot;
pub mod statistics;
pub mod tiles;

// One file per codec, one line below for each.
mod dense;
mod half_float;
mod int8;
mod public;
mod rotated;
mod seeded;
mod sparse;
mod ternary;

pub use error::{DecodeError, EncodeError, Rule, SettingsError};
pub use held::Held;
pub use select::Score;

use frame::Reader;
use tiles::Form;

/// All codecs: `--codec NAME`.
pub static REGISTRY: &[Entry] = &[
    sparse::ENTRY,
    ternary::ENTRY,
    public::ENTRY,
    seeded::ENTRY,
    rotated::ENTRY,
    int8::ENTRY,
    half_float::ENTRY,
    dense::ENTRY,
];

/// A codec as listed.
#[derive(Debug)]
pub struct Entry {
    /// Name in configuration and plans.
    pub name: &'static str,
    /// First byte of its payloads.
    pub id: u8,
    /// One line for help texts.
    pub description: &'static str,
    build: fn(&Settings) -> Result<Box<dyn Codec>, SettingsError>,
    decode: Decode,
    /// How its values lie, if each has its place.
    form: Option<Form>,
}

/// Layout, most entries, and what follows the id.
type Decode = fn(&Layout, usize, Reader<'_>) -> Result<Vec<(u32, f32)>, DecodeError>;

/// What a plan can ask of a codec; each codec uses what concerns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Share of all values that are sent, above 0 and at most 1.
    pub density: f32,
    /// Share of every single tensor that is sent at least (and never less than one value), 0 to `density`.
    pub floor: f32,
    /// Most bits per value on average, sign included, 1 to 8.
    pub value_bits: u8,
    /// By what values compete to be sent.
    pub score: Score,
    /// Most bytes of a message, from which codecs that can leave values out choose what they send instead of from `density`;
    /// at least [`BUDGET_MIN`].
    pub budget: Option<u32>,
    /// Which places codec `public` sends: the same number on all devices of a round, another one in the next.
    pub mask: u32,
}

/// Least budget of a message, in bytes.
pub const BUDGET_MIN: u32 = 64;

impl Default for Settings {
    fn default() -> Self {
        Self { density: 0.01, floor: 0.001, value_bits: 3, score: Score::default(), budget: None, mask: 0 }
    }
}

impl Settings {
    /// Checks what says how much is sent.
    fn check_density(&self) -> Result<(), SettingsError> {
        let (density, range) = (self.density, "above 0 to 1");
        if !(density > 0.0 && density <= 1.0) {
            return Err(SettingsError::Range { what: "density", found: density.to_string(), range });
        }
        match self.budget {
            Some(budget) if budget < BUDGET_MIN => {
                let (found, range) = (budget.to_string(), "64 bytes or more");
                Err(SettingsError::Range { what: "budget", found, range })
            }
            _ => Ok(()),
        }
    }
}

/// An encoded update.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The bytes to send.
    pub payload: Vec<u8>,
    /// What [`decode_update`] makes of them, bit for bit: strictly increasing indices, finite values.
    pub entries: Vec<(u32, f32)>,
}

/// One way of writing an update. The same values give the same bytes.
pub trait Codec: std::fmt::Debug + Send + Sync {
    /// Encodes `values` (in `layout`, all finite).
    ///
    /// # Errors
    /// A wrong length, or a value that is not finite.
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError>;

    /// Adds `held` to `values` and encodes the sum, which stays in `values`: the same as both steps one after the other, for
    /// codecs that can in one pass over memory.
    ///
    /// # Errors
    /// As [`Codec::encode`]; `values` are not specified then.
    fn encode_sum(
        &self,
        layout: &Layout,
        values: &mut [f32],
        held: &Held<'_>,
    ) -> Result<Encoded, EncodeError> {
        check_length(layout, values)?;
        held.add_all(layout, values);
        self.encode(layout, values)
    }

    /// Most entries that [`Codec::encode`] makes over `layout`: what a receiver that knows the settings need accept.
    fn entries_max(&self, layout: &Layout) -> usize {
        layout.len()
    }

    /// Share of the squared norm that reaches the decoder at least, 0 to 1: with x encoded and d decoded,
    /// `sum (x - d)^2 <= (1 - kept) sum x^2`. This is the contraction that error feedback relies on (Stich et al. 2018).
    fn kept(&self, layout: &Layout) -> f64;
}

/// The codec called `name`.
///
/// # Errors
/// An unknown name, or settings out of range.
pub fn build(name: &str, settings: &Settings) -> Result<Box<dyn Codec>, SettingsError> {
    let Some(entry) = REGISTRY.iter().find(|entry| entry.name == name) else {
        let known = REGISTRY.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        return Err(SettingsError::Unknown { found: name.chars().take(80).collect(), known });
    };
    (entry.build)(settings)
}

/// Decodes an update over `layout` (shared tensors only) of at most `max_entries` entries, by whichever codec wrote it.
/// Memory is at most 8 bytes per entry, and no more entries than the bytes can hold; time is linear in the bytes.
///
/// # Errors
/// Names the offset and the rule that is broken.
pub fn decode_update(
    layout: &Layout,
    max_entries: usize,
    payload: &[u8],
) -> Result<Vec<(u32, f32)>, DecodeError> {
    let mut reader = frame::open(payload)?;
    let id = reader.u8()?;
    match REGISTRY.iter().find(|entry| entry.id == id) {
        Some(entry) => (entry.decode)(layout, max_entries, reader),
        None => Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "codec", found: id } }),
    }
}

/// The indices of the values of the largest magnitude, in order: a share `density` of all, of each tensor a share `floor` at least, never a
/// zero. Values are multiples of `steps`, one a tensor.
///
/// # Errors
/// A wrong length, or a value that is not finite or beyond 2^80.
///
/// # Panics
/// If there is not one step for each tensor.
pub fn strongest(
    layout: &Layout,
    multiples: &[i32],
    steps: Vec<f64>,
    density: f32,
    floor: f32,
) -> Result<Vec<u32>, EncodeError> {
    check_length(layout, multiples)?;
    let (count, floors) = select::shares(layout, density, floor);
    let mut source = select::Multiples::new(multiples, steps);
    let entries = select::select(layout, &mut source, count, floors, Score::Magnitude)?;
    Ok(entries.into_iter().map(|(index, _)| index).collect())
}

/// The mask of a round: what [`Settings::mask`] has to be.
pub fn round_mask(run: u64, round: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&run.to_le_bytes()), &round.to_le_bytes())
}

/// The mask of an update by codec `public`, which has to be the one of its round; `None` for any other payload.
pub fn mask_of(payload: &[u8]) -> Option<u32> {
    payload.first().filter(|&&id| id == public::ID)?;
    let mut reader = frame::open(payload).ok()?;
    reader.u8().ok()?;
    reader.varint().ok()?;
    reader.array().ok().map(u32::from_le_bytes)
}

/// `body` with its checksum: a message as decoders take them. For tests of decoders; encoders write theirs themselves.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    frame::seal(body.to_vec())
}

/// Largest magnitude of a value to encode, 2^80: with it no level, and no sum of a few updates, can overflow.
const MAGNITUDE_MAX: f32 = (1_u128 << 80) as f32;

/// Checks that there are as many values as `layout` has.
fn check_length<T>(layout: &Layout, values: &[T]) -> Result<(), EncodeError> {
    let (expected, found) = (layout.len(), values.len());
    if found == expected { Ok(()) } else { Err(EncodeError::Length { what: "values", expected, found }) }
}

/// Checks that `values` are `layout` long, finite and at most [`MAGNITUDE_MAX`].
fn check_values(layout: &Layout, values: &[f32]) -> Result<(), EncodeError> {
    check_length(layout, values)?;
    // Without an exit inside a chunk, several values are compared at a time.
    let bad = |value: &f32| u32::from(!in_range(*value));
    let good = values.chunks(256).all(|chunk| chunk.iter().map(bad).fold(0, |any, bad| any | bad) == 0);
    let index = if good { None } else { values.iter().position(|&value| !in_range(value)) };
    index.map_or(Ok(()), |index| Err(value_error(layout, index, values[index])))
}

fn in_range(value: f32) -> bool {
    value.abs() <= MAGNITUDE_MAX
}

/// The error of a value that is out of range, by its flat index.
fn value_error(layout: &Layout, index: usize, value: f32) -> EncodeError {
    let tensor = layout.tensors().iter().find(|tensor| tensor.range().contains(&index));
    let (tensor, offset) = tensor.map_or(("?", 0), |tensor| (tensor.spec.name.as_str(), tensor.offset));
    EncodeError::Value { tensor: tensor.into(), position: index - offset, value: value.to_string() }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod mutations;
