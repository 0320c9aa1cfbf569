//! Reads what the encoders of the codecs with chosen places write, and nothing else.

use params::Layout;

use super::classes::number_bits;
use super::levels::Levels;
use super::{CLASSES_MAX, GAP_RICE_MAX, RUN_RICE_MAX};
use crate::bits::BitReader;
use crate::frame::Reader;
use crate::{DecodeError, Rule};

/// How the entries of a class are coded.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    rice: u32,
    levels: Levels,
}

/// Reads everything after the id; at least `bits_min` and at most `bits_max` bits a value.
pub(crate) fn decode_bits(
    layout: &Layout,
    max_entries: usize,
    mut reader: Reader<'_>,
    bits_min: u8,
    bits_max: u8,
) -> Result<Vec<(u32, f32)>, DecodeError> {
    reader.expect("number of values", layout.len())?;
    let count = reader.bounded("number of entries", 0, layout.len().min(max_entries))?;
    let value_bits = reader.byte("value bits", bits_min, bits_max)?;
    let most = if count == 0 { 0 } else { CLASSES_MAX as u8 };
    let mut classes = Vec::new();
    let number = reader.byte("number of classes", most.min(1), most)?;
    let has_runs = value_bits == 2 && count > 0;
    let run_rice = if has_runs { reader.byte("Rice parameter", 0, RUN_RICE_MAX as u8)?.into() } else { 0 };
    for _ in 0..number {
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
    let entries = Entries { layout, of_tensor, count };
    // A loop of its own for each usual number of bits, which then has not to ask for it.
    let (entries, stream) = match value_bits {
        1 => entries.read(stream, |_| Ok(0))?,
        2 if count > 0 => {
            // Entries up to the next one of the upper level.
            let mut run = stream.get_rice(run_rice)?;
            let read = entries.read(stream, |stream| {
                if run > 0 {
                    run -= 1;
                    return Ok(0);
                }
                run = stream.get_rice(run_rice)?;
                Ok(1)
            })?;
            if run > 0 {
                return Err(read.1.error(Rule::Form { what: "the last run" }));
            }
            read
        }
        3 => entries.read(stream, |stream| stream.get_rice(0))?,
        bits => entries.read(stream, |stream| stream.get_rice(u32::from(bits.max(3)) - 3))?,
    };
    stream.end()?;
    Ok(entries)
}

/// What is left to read when the heads are.
struct Entries<'a> {
    layout: &'a Layout,
    of_tensor: Vec<Class>,
    count: usize,
}

impl Entries<'_> {
    /// Reads all entries, the level of each with `level`, and gives back what follows them.
    #[inline]
    fn read<'s>(
        self,
        mut stream: BitReader<'s>,
        mut level: impl FnMut(&mut BitReader<'s>) -> Result<u32, DecodeError>,
    ) -> Result<(Vec<(u32, f32)>, BitReader<'s>), DecodeError> {
        let mut tensors =
            self.layout.tensors().iter().map(|tensor| tensor.range().end as u64).zip(self.of_tensor);
        let (mut end, mut class) = tensors.next().unwrap_or_default();
        let mut entries = vec![(0, 0.0); self.count];
        let mut next = 0;
        for entry in &mut entries {
            let mut index = next;
            // First the tensor in which the gap begins, then that in which it ends.
            let mut sign = 0;
            for gap_read in [false, true] {
                while index >= end {
                    let Some(following) = tensors.next() else {
                        let max = self.layout.len() as u64 - 1;
                        return Err(stream.error(Rule::Range { what: "index", found: index, min: 0, max }));
                    };
                    (end, class) = following;
                }
                if !gap_read {
                    stream.refill();
                    let gap;
                    (gap, sign) = stream.get_rice_and_bit(class.rice)?;
                    index += u64::from(gap);
                }
            }
            *entry = (index as u32, class.levels.value(sign, level(&mut stream)?));
            next = index + 1;
        }
        Ok((entries, stream))
    }
}
