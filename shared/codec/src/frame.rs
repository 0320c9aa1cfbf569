//! The frame every format of this crate shares: contents, then the CRC-32C of everything before it; and a reader of it.

use half::bf16;

use crate::MAGNITUDE_MAX;
use crate::error::{DecodeError, Rule};

/// Bytes of the checksum.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// Appends the checksum.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Checks the checksum and gives a reader of what precedes it.
pub(crate) fn open(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let Some((body, stored)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(DecodeError { offset: bytes.len(), rule: Rule::Truncated });
    };
    check_sum(crc32c::crc32c(body), stored, body.len())?;
    Ok(Reader::new(body))
}

/// Compares the checksum over everything before `offset` with the bytes that are `stored` there.
pub(crate) fn check_sum(expected: u32, stored: &[u8], offset: usize) -> Result<(), DecodeError> {
    let found = Reader::new(stored).array().map(u32::from_le_bytes)?;
    if expected == found {
        Ok(())
    } else {
        Err(DecodeError { offset, rule: Rule::Checksum { expected, found } })
    }
}

/// Appends `value` as LEB128: seven bits a byte, least significant first.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Reads a scale: bf16, not negative, at most twice the largest value that is encoded, so that no multiple is infinite.
pub(crate) fn read_step(reader: &mut Reader<'_>) -> Result<f32, DecodeError> {
    let step = bf16::from_le_bytes(reader.array()?);
    if !step.is_sign_negative() && step.to_f32() <= 2.0 * MAGNITUDE_MAX {
        return Ok(step.to_f32());
    }
    Err(reader.error(Rule::Form { what: "a level" }))
}

/// Reads from front to back and knows where it stands.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The error of breaking `rule` here.
    pub(crate) fn error(&self, rule: Rule) -> DecodeError {
        DecodeError { offset: self.offset, rule }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..len).ok_or_else(|| self.error(Rule::Truncated))?;
        self.offset += len;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// A varint of at most 32 bits, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.offset;
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let shortest = byte != 0 || shift == 0;
                let value = u32::try_from(value).ok().filter(|_| shortest);
                return value.ok_or(DecodeError { offset: start, rule: Rule::Form { what: "a number" } });
            }
        }
        Err(DecodeError { offset: start, rule: Rule::Form { what: "a number" } })
    }

    /// A varint within `min..=max`.
    pub(crate) fn bounded(
        &mut self,
        what: &'static str,
        min: usize,
        max: usize,
    ) -> Result<usize, DecodeError> {
        let offset = self.offset;
        let found = self.varint()? as usize;
        if (min..=max).contains(&found) {
            return Ok(found);
        }
        let rule = Rule::Range { what, found: found as u64, min: min as u64, max: max as u64 };
        Err(DecodeError { offset, rule })
    }

    /// A byte within `min..=max`.
    pub(crate) fn byte(&mut self, what: &'static str, min: u8, max: u8) -> Result<u8, DecodeError> {
        let offset = self.offset;
        let found = self.u8()?;
        if (min..=max).contains(&found) {
            return Ok(found);
        }
        let rule = Rule::Range { what, found: found.into(), min: min.into(), max: max.into() };
        Err(DecodeError { offset, rule })
    }

    /// A varint that has to be `expected`.
    pub(crate) fn expect(&mut self, what: &'static str, expected: usize) -> Result<(), DecodeError> {
        let offset = self.offset;
        let (expected, found) = (expected as u64, u64::from(self.varint()?));
        if expected == found {
            return Ok(());
        }
        Err(DecodeError { offset, rule: Rule::Mismatch { what, expected, found } })
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    pub(crate) fn end(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            found => Err(self.error(Rule::Trailing { found })),
        }
    }
}
