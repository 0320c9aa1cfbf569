//! Updates of which every value has its place are checked and added a tile at a time: whatever their size, they need next to no
//! memory, and threads can work on different tiles.
//!
//! A codec says with a [`Form`] how its values lie. [`check`] goes once through the bytes and makes sure of everything;
//! [`Checked::add_to`] then only adds.

use std::ops::Range;

use params::{Accumulator, Layout, Part, Scales, SumError, TILE};
use thiserror::Error;

use crate::error::{DecodeError, Rule};
use crate::frame::{self, CHECKSUM_BYTES, Reader};
use crate::payload::{Payload, Unreadable, Window};
use crate::{Entry, REGISTRY, decode_update};

/// Bytes before the first tensor: id and number of values.
const HEAD_BYTES_MAX: usize = 6;

/// Head of a tensor, blocks, and where their values go.
type Decode = fn(&[u8], &[u8], &mut [f32]) -> Result<(), DecodeError>;

/// How the values of a codec lie in its payloads, tensor by tensor, in blocks.
#[derive(Debug)]
pub(crate) struct Form {
    /// Bytes before the first block of a tensor.
    pub(crate) head: usize,
    /// Values of a block; the last one of a tensor may have fewer. Divides [`TILE`], so that tiles are whole blocks.
    pub(crate) block: usize,
    /// Bytes of a block before its values.
    pub(crate) lead: usize,
    /// Bytes of a value.
    pub(crate) width: usize,
    /// Checks the head of a tensor. Offsets are from its start.
    pub(crate) check_head: fn(&[u8]) -> Result<(), DecodeError>,
    /// Decodes neighbouring blocks of a tensor with this head. Offsets are from the start of the blocks.
    pub(crate) decode: Decode,
    /// Whether blocks are values as they are, little-endian f32: they are then checked and added without being decoded, and decoding need
    /// not look whether they are finite.
    pub(crate) words: bool,
}

/// Why an update cannot count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// Its bytes break a rule of their format.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its values are too large.
    #[error(transparent)]
    Sum(#[from] SumError),
    /// It is stored, and cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// An update that was checked and can be added.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// `(index, value)` over the layout, strictly increasing indices, finite values.
    Entries(Vec<(u32, f32)>),
    /// Every value has its place in the payload, and is decoded when it is added.
    InPlace,
}

/// Whether an update of this payload is checked and added by tiles, or needs memory for all of its entries. Tells nothing of
/// whether it is sound.
///
/// # Errors
/// It cannot be read.
pub fn in_place(payload: &Payload) -> Result<bool, Unreadable> {
    if payload.is_empty() {
        return Ok(false);
    }
    let id = Window::new(payload).bytes(0..1)?[0];
    Ok(entry_of(id).is_some_and(|entry| entry.form.is_some()))
}

fn entry_of(id: u8) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.id == id)
}

/// Checks an update over `layout` (shared tensors only) of at most `entries_max` entries: all that [`decode_update`] checks, and
/// for updates that are added in place whether their values can be summed. (Entries are looked at when they are added.)
///
/// # Errors
/// Names the offset and the rule that is broken, or the value that is too large.
pub fn check(
    layout: &Layout,
    scales: &Scales,
    entries_max: usize,
    payload: &Payload,
) -> Result<Checked, UpdateError> {
    if !in_place(payload)? {
        return Ok(Checked::Entries(decode_update(layout, entries_max, &payload.whole()?)?));
    }
    let mut window = Window::new(payload);
    let places = Places::open(layout, entries_max, &mut window)?;
    let mut sum = crc32c::crc32c(window.bytes(0..places.start)?);
    let mut broken = None;
    places.walk(0..layout.len(), &mut window, &mut |visit| {
        let error = match visit {
            Visit::Bytes(bytes) => {
                sum = crc32c::crc32c_append(sum, bytes);
                return Ok(());
            }
            Visit::Blocks(blocks) => blocks.check(scales).err(),
            Visit::Broken(error) => Some(error.into()),
        };
        broken = broken.take().or(error);
        Ok(())
    })?;
    let end = payload.len() - CHECKSUM_BYTES;
    // First whether these are the bytes that were written, as everywhere.
    frame::check_sum(sum, window.bytes(end..payload.len())?, end)?;
    broken.map_or(Ok(Checked::InPlace), Err)
}

impl Checked {
    /// Adds the update to a sum over the layout it was checked for; `payload` is what was checked. The sum is the same whatever the number of threads.
    ///
    /// # Errors
    /// Leaves the sum untouched when the weight, an index or a value is out of bounds. [`UpdateError::Unreadable`] and
    /// [`UpdateError::Decode`] mean that bytes which had been checked are not there any more: the sum is then of no use.
    pub fn add_to(
        &self,
        sum: &mut Accumulator,
        payload: &Payload,
        weight: u32,
        threads: usize,
    ) -> Result<(), UpdateError> {
        if let Self::Entries(entries) = self {
            return Ok(sum.add(entries, weight)?);
        }
        let layout = sum.layout().clone();
        let places = Places::open(&layout, layout.len(), &mut Window::new(payload))?;
        let mut parts = sum.open(weight, threads)?.into_iter();
        let Some(own) = parts.next() else { return Ok(()) };
        std::thread::scope(|scope| {
            let places = &places;
            let others: Vec<_> = parts.map(|part| scope.spawn(move || places.add(payload, part))).collect();
            let added = places.add(payload, own);
            let failed = || Unreadable("a thread failed".to_owned());
            let join = |other: std::thread::ScopedJoinHandle<'_, Result<(), UpdateError>>| {
                other.join().unwrap_or_else(|_| Err(failed().into()))
            };
            others.into_iter().map(join).fold(added, Result::and)
        })
    }
}

/// Where the values of a payload are.
struct Places<'a> {
    layout: &'a Layout,
    form: &'static Form,
    /// First byte of the first tensor.
    start: usize,
}

/// What a walk meets.
enum Visit<'a> {
    /// All bytes, in order.
    Bytes(&'a [u8]),
    /// The values of a tile.
    Blocks(Blocks<'a>),
    /// A broken rule.
    Broken(DecodeError),
}

/// The values of a tile of a tensor, still encoded.
struct Blocks<'a> {
    form: &'static Form,
    head: &'a [u8],
    bytes: &'a [u8],
    /// Where the bytes begin.
    offset: usize,
    /// Number of the tensor.
    tensor: usize,
    /// Flat index of the first value.
    first: usize,
    len: usize,
}

impl Blocks<'_> {
    fn check(&self, scales: &Scales) -> Result<(), UpdateError> {
        if self.form.words && crate::dense::words_fit(self.words(), scales.largest(self.tensor)) {
            return Ok(());
        }
        let mut values = [0.0; TILE];
        let values = self.decode(&mut values)?;
        if self.form.words {
            crate::dense::check_finite(values, self.form.width).map_err(|error| error.behind(self.offset))?;
        }
        Ok(scales.check(self.tensor, self.first, values)?)
    }

    /// Values as they are.
    fn words(&self) -> &[[u8; 4]] {
        self.bytes.as_chunks().0
    }

    fn decode<'v>(&self, values: &'v mut [f32; TILE]) -> Result<&'v [f32], DecodeError> {
        let values = &mut values[..self.len];
        (self.form.decode)(self.head, self.bytes, values).map_err(|error| error.behind(self.offset))?;
        Ok(values)
    }
}

impl<'a> Places<'a> {
    /// Reads what precedes the tensors, and checks the length.
    fn open(layout: &'a Layout, entries_max: usize, window: &mut Window<'_>) -> Result<Self, UpdateError> {
        let length = window.payload_len();
        let body = length.saturating_sub(CHECKSUM_BYTES);
        let mut reader = Reader::new(window.bytes(0..body.min(HEAD_BYTES_MAX))?);
        let id = reader.u8()?;
        let Some(form) = entry_of(id).and_then(|entry| entry.form.as_ref()) else {
            return Err(DecodeError { offset: 0, rule: Rule::Unknown { what: "codec", found: id } }.into());
        };
        crate::dense::check_count(layout, entries_max, &mut reader)?;
        let start = reader.offset();
        let tensors: usize = layout.tensors().iter().map(|tensor| form.bytes(tensor.len)).sum();
        if body < start + tensors {
            return Err(DecodeError { offset: start, rule: Rule::Truncated }.into());
        }
        if body > start + tensors {
            let found = body - start - tensors;
            return Err(DecodeError { offset: start + tensors, rule: Rule::Trailing { found } }.into());
        }
        Ok(Self { layout, form, start })
    }

    /// Goes through the values of `range`, which begins and ends at tiles, in order.
    fn walk(
        &self,
        range: Range<usize>,
        window: &mut Window<'_>,
        visit: &mut dyn FnMut(Visit<'_>) -> Result<(), UpdateError>,
    ) -> Result<(), UpdateError> {
        let form = self.form;
        let mut head = [0; HEAD_BYTES_MAX];
        let head = &mut head[..form.head];
        let mut at = self.start;
        for (number, tensor) in self.layout.tensors().iter().enumerate() {
            let (begin, inside) = (at, tensor.range());
            at += form.bytes(tensor.len);
            if inside.end <= range.start {
                continue;
            }
            if inside.start >= range.end {
                break;
            }
            head.copy_from_slice(window.bytes(begin..begin + form.head)?);
            visit(Visit::Bytes(head))?;
            let mut sound = true;
            if let Err(error) = (form.check_head)(head) {
                sound = false;
                visit(Visit::Broken(error.behind(begin)))?;
            }
            let first = range.start.saturating_sub(inside.start);
            for first in (first..tensor.len.min(range.end - inside.start)).step_by(TILE) {
                let len = TILE.min(tensor.len - first);
                let offset = begin + form.head + form.blocks(first);
                let bytes = window.bytes(offset..offset + form.blocks(len))?;
                visit(Visit::Bytes(bytes))?;
                if sound {
                    let first = inside.start + first;
                    visit(Visit::Blocks(Blocks { form, head, bytes, offset, tensor: number, first, len }))?;
                }
            }
        }
        Ok(())
    }

    /// Adds what belongs to a part.
    fn add(&self, payload: &Payload, mut part: Part<'_>) -> Result<(), UpdateError> {
        let mut window = Window::new(payload);
        let mut values = [0.0; TILE];
        self.walk(part.range(), &mut window, &mut |visit| match visit {
            Visit::Bytes(_) => Ok(()),
            Visit::Blocks(blocks) if self.form.words => {
                Ok(part.add(blocks.tensor, blocks.first, blocks.words())?)
            }
            Visit::Blocks(blocks) => {
                Ok(part.add(blocks.tensor, blocks.first, blocks.decode(&mut values)?)?)
            }
            Visit::Broken(error) => Err(error.into()),
        })
    }
}

impl Form {
    /// Bytes of neighbouring blocks with so many values.
    fn blocks(&self, values: usize) -> usize {
        values.div_ceil(self.block) * self.lead + values * self.width
    }

    /// Bytes of a tensor of so many values.
    fn bytes(&self, values: usize) -> usize {
        self.head + self.blocks(values)
    }
}

#[cfg(test)]
mod tests;
