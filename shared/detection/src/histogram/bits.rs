//! Bits into bytes, lowest first, with the two codes that small counts need.

/// Reading beyond the end, or a number too large for its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Longest Elias gamma code read, in bits below the leading one.
const GAMMA_BITS: u32 = 42;

#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used in the last byte, 0 if it is full.
    used: u32,
}

impl BitWriter {
    pub(super) fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    /// The `count` low bits of a number.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        (0..count).for_each(|at| self.bit(value >> at & 1 == 1));
    }

    /// Elias gamma code of a number from 1: its length in zeros, then itself.
    pub(super) fn gamma(&mut self, value: u64) {
        let length = value.max(1).ilog2();
        self.bits(0, length);
        self.bit(true);
        self.bits(value, length);
    }

    /// Rice code of a number: `value >> low` in zeros, then the low bits.
    pub(super) fn rice(&mut self, value: u64, low: u32) {
        (0..value >> low).for_each(|_| self.bit(false));
        self.bit(true);
        self.bits(value, low);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Result<bool, Malformed> {
        let byte = self.bytes.get(self.at / 8).ok_or(Malformed)?;
        let bit = byte >> (self.at % 8) & 1 == 1;
        self.at += 1;
        Ok(bit)
    }

    pub(super) fn bits(&mut self, count: u32) -> Result<u64, Malformed> {
        let mut value = 0;
        for at in 0..count {
            value |= u64::from(self.bit()?) << at;
        }
        Ok(value)
    }

    /// Zeros before the next one, at most `most`.
    fn zeros(&mut self, most: u64) -> Result<u64, Malformed> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > most {
                return Err(Malformed);
            }
        }
        Ok(zeros)
    }

    pub(super) fn gamma(&mut self) -> Result<u64, Malformed> {
        let length = self.zeros(u64::from(GAMMA_BITS))? as u32;
        Ok(1 << length | self.bits(length)?)
    }

    /// A Rice-coded number not above `most`.
    pub(super) fn rice(&mut self, low: u32, most: u64) -> Result<u64, Malformed> {
        let high = self.zeros(most >> low)?;
        let value = high << low | self.bits(low)?;
        if value > most { Err(Malformed) } else { Ok(value) }
    }

    /// Whether only zero bits that fill the last byte are left.
    pub(super) fn at_end(mut self) -> bool {
        let left = self.bytes.len() * 8 - self.at;
        left < 8 && (0..left).all(|_| self.bit() == Ok(false))
    }
}
