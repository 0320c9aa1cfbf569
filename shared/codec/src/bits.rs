//! A stream of bits, least significant first, and Golomb-Rice codes in it (Golomb 1966, Rice 1979).
//!
//! `rice(v, b)` is v >> b in unary (that many zeros, then a one) followed by the low b bits of v. A quotient of
//! [`UNARY_MAX`] or more is written as that many zeros, the bit length of v less one in five bits, and v without its leading
//! one: no value costs more than 60 bits, and no decoder follows a run of zeros without end.

use crate::error::{DecodeError, Rule};

/// Zeros that announce a value by its length.
const UNARY_MAX: u32 = 24;
/// Bits of a length.
const LENGTH_BITS: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    buffer: u64,
    /// Bits in `buffer`, below 32 between calls.
    used: u32,
}

impl BitWriter {
    /// Goes on after `bytes`.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, buffer: 0, used: 0 }
    }

    /// Writes the low `width` bits of `value`, at most 32; the bits above must be zero.
    pub(crate) fn put(&mut self, value: u32, width: u32) {
        debug_assert!(width <= 32 && u64::from(value) >> width == 0);
        self.buffer |= u64::from(value) << self.used;
        self.used += width;
        if self.used >= 32 {
            self.bytes.extend_from_slice(&(self.buffer as u32).to_le_bytes());
            self.buffer >>= 32;
            self.used -= 32;
        }
    }

    pub(crate) fn put_rice(&mut self, value: u32, b: u32) {
        let quotient = value >> b;
        if quotient < UNARY_MAX && quotient + b < 32 {
            let low = value & ((1 << b) - 1);
            self.put(1 << quotient | (u64::from(low) << (quotient + 1)) as u32, quotient + 1 + b);
        } else {
            self.put_long(value, b);
        }
    }

    /// A number, then a bit.
    pub(crate) fn put_rice_and_bit(&mut self, value: u32, b: u32, bit: u32) {
        let quotient = value >> b;
        if quotient < UNARY_MAX && quotient + b < 31 {
            let low = value & ((1 << b) - 1) | bit << b;
            self.put(1 << quotient | (u64::from(low) << (quotient + 1)) as u32, quotient + 2 + b);
        } else {
            self.put_rice(value, b);
            self.put(bit, 1);
        }
    }

    /// [`Self::put_rice`] of more than 32 bits or with an escape.
    #[cold]
    fn put_long(&mut self, value: u32, b: u32) {
        let quotient = value >> b;
        if quotient < UNARY_MAX {
            self.put(1 << quotient, quotient + 1);
            self.put(value & ((1 << b) - 1), b);
        } else {
            let length = value.ilog2();
            self.put(length << UNARY_MAX, UNARY_MAX + LENGTH_BITS);
            self.put(value ^ (1 << length), length);
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let last = self.used.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.buffer.to_le_bytes()[..last]);
        self.bytes
    }
}

/// Bits of all `values` under [`BitWriter::put_rice`], for each of the first parameters. In this form several are counted at a
/// time.
pub(crate) fn rice_bits_of_all<const B: usize>(values: &[u32]) -> [u32; B] {
    let mut all = [0; B];
    let mut escapes = [0; 256];
    for values in values.chunks(escapes.len()) {
        for (escape, &value) in escapes.iter_mut().zip(values) {
            *escape = UNARY_MAX + LENGTH_BITS + (value | 1).ilog2();
        }
        let largest = values.iter().copied().max().unwrap_or_default();
        for (b, all) in (0..).zip(&mut all) {
            if largest >> b == 0 {
                *all += values.len() as u32 * (1 + b);
                continue;
            }
            let bits = |(&value, &escape): (&u32, &u32)| {
                let quotient = value >> b;
                if quotient < UNARY_MAX { quotient + 1 + b } else { escape }
            };
            *all += values.iter().zip(&escapes).map(bits).sum::<u32>();
        }
    }
    all
}

/// Bits of `value` under [`BitWriter::put_rice`].
pub(crate) fn rice_bits(value: u32, b: u32) -> u32 {
    let quotient = value >> b;
    if quotient < UNARY_MAX { quotient + 1 + b } else { UNARY_MAX + LENGTH_BITS + value.ilog2() }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes` in the message, for errors.
    start: usize,
    next: usize,
    buffer: u64,
    /// Bits in `buffer` that count; those above are zero or the first bits of what follows.
    available: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, start, next: 0, buffer: 0, available: 0 }
    }

    /// The error of breaking `rule` here.
    pub(crate) fn error(&self, rule: Rule) -> DecodeError {
        DecodeError { offset: self.start + self.next - (self.available / 8) as usize, rule }
    }

    /// Fills the buffer to at least 56 bits, or to the end. Reading does so where it has to; in a loop it is better done always than
    /// where nothing can be foreseen.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        if let Some(word) = self.bytes[self.next..].first_chunk::<8>() {
            // Bits of a byte that is only partly taken are there already or are read again with it: the same bits.
            self.buffer |= u64::from_le_bytes(*word) << self.available;
            self.next += ((63 - self.available) / 8) as usize;
            self.available |= 56;
        } else {
            while self.available <= 56 && self.next < self.bytes.len() {
                self.buffer |= u64::from(self.bytes[self.next]) << self.available;
                self.next += 1;
                self.available += 8;
            }
        }
    }

    /// Reads `width` bits, at most 32.
    #[inline]
    pub(crate) fn get(&mut self, width: u32) -> Result<u32, DecodeError> {
        if self.available < width {
            self.refill();
            if self.available < width {
                return Err(self.error(Rule::Truncated));
            }
        }
        let value = self.buffer & ((1_u64 << width) - 1);
        self.skip(width);
        Ok(value as u32)
    }

    #[inline(always)]
    pub(crate) fn get_rice(&mut self, b: u32) -> Result<u32, DecodeError> {
        if self.available < UNARY_MAX + 1 + b {
            self.refill();
        }
        let zeros = self.buffer.trailing_zeros();
        let width = zeros + 1 + b;
        if zeros >= UNARY_MAX || width > self.available {
            let value;
            (value, *self) = self.get_long(b)?;
            return Ok(value);
        }
        let low = (self.buffer >> (zeros + 1)) & ((1_u64 << b) - 1);
        self.skip(width);
        Ok((zeros << b) | low as u32)
    }

    /// A Rice code and the bit after it; `b` is at most 20.
    #[inline(always)]
    pub(crate) fn get_rice_and_bit(&mut self, b: u32) -> Result<(u32, u32), DecodeError> {
        if self.available < UNARY_MAX + 2 + b {
            self.refill();
        }
        let zeros = self.buffer.trailing_zeros();
        let width = zeros + 2 + b;
        if zeros >= UNARY_MAX || width > self.available {
            let (value, bit);
            (value, *self) = self.get_long(b)?;
            (bit, *self) = self.get_late(1)?;
            return Ok((value, bit));
        }
        let rest = self.buffer >> (zeros + 1);
        let (low, bit) = (rest & ((1_u64 << b) - 1), (rest >> b) & 1);
        self.skip(width);
        Ok(((zeros << b) | low as u32, bit as u32))
    }

    /// Takes `width` bits, which there are, out of the buffer.
    #[inline]
    fn skip(&mut self, width: u32) {
        self.buffer >>= width;
        self.available -= width;
    }

    /// [`Self::get_rice`] of an escape or at the end, and what follows it. (A reader of which nobody holds the address stays in
    /// registers.)
    #[cold]
    fn get_long(mut self, b: u32) -> Result<(u32, Self), DecodeError> {
        let zeros = self.buffer.trailing_zeros();
        if zeros < UNARY_MAX {
            self.get(zeros + 1)?;
            let low = self.get(b)?;
            return Ok(((zeros << b) | low, self));
        }
        self.get(UNARY_MAX)?;
        let length = self.get(LENGTH_BITS)?;
        let value = (1 << length) | self.get(length)?;
        if value >> b < UNARY_MAX {
            return Err(self.error(Rule::Form { what: "an escaped number" }));
        }
        Ok((value, self))
    }

    /// [`Self::get`] where it is seldom called.
    #[cold]
    fn get_late(mut self, width: u32) -> Result<(u32, Self), DecodeError> {
        Ok((self.get(width)?, self))
    }

    /// Checks that nothing but zero bits of the last byte is left.
    pub(crate) fn end(mut self) -> Result<(), DecodeError> {
        self.refill();
        if self.available >= 8 {
            let found = self.bytes.len() - self.next + (self.available / 8) as usize;
            return Err(self.error(Rule::Trailing { found }));
        }
        match self.buffer {
            0 => Ok(()),
            _ => Err(self.error(Rule::Form { what: "the padding" })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rice_codes_come_back_in_the_counted_bits() {
        for b in [0, 1, 5, 13, 25] {
            for value in [0, 1, 2, 23, 24, 25, 1000, (1 << 26) - 1, u32::MAX] {
                let mut writer = BitWriter::after(vec![0xff]);
                writer.put(1, 3);
                writer.put_rice(value, b);
                let bits = 3 + rice_bits(value, b);
                let bytes = writer.finish();
                assert_eq!(bytes.len(), 1 + bits.div_ceil(8) as usize, "value {value}, b {b}");
                let mut reader = BitReader::new(&bytes[1..], 1);
                assert_eq!((reader.get(3), reader.get_rice(b)), (Ok(1), Ok(value)));
                reader.end().unwrap();
                if b > 20 {
                    continue;
                }
                for bit in [0, 1] {
                    let mut writer = BitWriter::after(vec![0xff]);
                    writer.put(1, 3);
                    writer.put_rice_and_bit(value, b, bit);
                    let bytes = writer.finish();
                    let mut reader = BitReader::new(&bytes[1..], 1);
                    assert_eq!((reader.get(3), reader.get_rice_and_bit(b)), (Ok(1), Ok((value, bit))));
                    reader.end().unwrap();
                }
            }
        }
    }

    #[test]
    fn needless_escapes_padding_and_ends_are_refused() {
        let mut writer = BitWriter::default();
        writer.put(4 << UNARY_MAX, UNARY_MAX + LENGTH_BITS);
        writer.put(0b0111, 4);
        let bytes = writer.finish();
        let rule = |result: Result<u32, DecodeError>| result.unwrap_err().rule;
        assert_eq!(rule(BitReader::new(&bytes, 0).get_rice(0)), Rule::Form { what: "an escaped number" });
        assert_eq!(rule(BitReader::new(&[0, 0], 0).get_rice(3)), Rule::Truncated);
        assert_eq!(rule(BitReader::new(&[0, 0, 0, 0x1f], 0).get_rice(3)), Rule::Truncated);
        assert_eq!(
            BitReader::new(&[2], 7).end().unwrap_err(),
            DecodeError { offset: 7, rule: Rule::Trailing { found: 1 } }
        );
        let mut reader = BitReader::new(&[0x81], 7);
        reader.get(7).unwrap();
        assert_eq!(reader.end().unwrap_err().rule, Rule::Form { what: "the padding" });
    }
}
