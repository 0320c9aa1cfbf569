//! Huffman codes, and tables that decode several bits at once.
//!
//! Two tables for the coefficients after the first. [`AcTable::one`] answers with the code word at the top of the bits: how
//! many zeros, how long a value, how many bits in all; the value itself is then a matter of shifts. [`AcTable::many`] is for
//! coefficients that a reduced picture does not show: as many as have their code words in [`MANY_BITS`] bits are passed over in
//! one step, with one test.

use std::sync::{Arc, LazyLock};

use super::bits::Bits;

/// Bits that [`AcTable::one`] and [`DcTable`] look at.
const ONE_BITS: u32 = 10;

/// Bits that [`AcTable::many`] looks at.
const MANY_BITS: u32 = 12;

/// Bits that one step with a table takes at most: a code word within it, and a value of 15 bits. A refill is enough for two.
const STEP_BITS: u32 = MANY_BITS + 15;

const _: () = assert!(2 * STEP_BITS <= super::bits::READY && ONE_BITS <= MANY_BITS);

/// A code as the file gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Code<'a> {
    /// How many codes of 1, 2, ... 16 bits there are.
    counts: &'a [u8; 16],
    /// What they mean, in the order of the codes.
    symbols: &'a [u8],
}

impl<'a> Code<'a> {
    /// `None` when the counts make no code, or one with a code word of all ones, which the standard forbids.
    pub(super) fn new(counts: &'a [u8; 16], symbols: &'a [u8]) -> Option<Self> {
        let mut next = 0_u32;
        for (count, length) in counts.iter().zip(1..) {
            next = (next << 1) + u32::from(*count);
            if next >= 1 << length && *count > 0 {
                return None;
            }
        }
        (symbols.len() <= 256).then_some(Self { counts, symbols })
    }

    /// Each code word: bits, length and meaning.
    fn words(self) -> impl Iterator<Item = (u32, u32, u8)> + 'a {
        let lengths = (1..=16_u32).zip(self.counts).flat_map(|(l, &count)| (0..count).map(move |_| l));
        let mut next = 0;
        let mut before = 0;
        lengths.zip(self.symbols).map(move |(length, &symbol)| {
            next <<= length - before;
            before = length;
            next += 1;
            (next - 1, length, symbol)
        })
    }
}

/// Decodes code words of any length: for what the tables leave out.
struct Words {
    /// Of each length: the first code word beyond those of this length, as 16 bits.
    ends: [u32; 17],
    /// Of each length: what leads from a code word to the number of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl Words {
    fn new(code: Code<'_>) -> Self {
        let mut words = Self { ends: [0; 17], offsets: [0; 17], symbols: [0; 256] };
        words.symbols[..code.symbols.len()].copy_from_slice(code.symbols);
        let (mut next, mut number) = (0_u32, 0_i32);
        for (length, &count) in (1..=16_usize).zip(code.counts) {
            next <<= 1;
            words.offsets[length] = number - next as i32;
            next += u32::from(count);
            number += i32::from(count);
            words.ends[length] = next << (16 - length);
        }
        words
    }

    /// The symbol and the length of the word that 16 bits begin with. `None` when there is no such word.
    ///
    /// By value: a reader that is lent to a function has to be in memory.
    #[cold]
    #[inline(never)]
    fn find(&self, ahead: usize) -> Option<(u8, u32)> {
        let length = (1..=16).find(|&length| (ahead as u32) < self.ends[length])?;
        let number = (ahead >> (16 - length)) as i32 + self.offsets[length];
        Some((*self.symbols.get(number as usize)?, length as u32))
    }
}

/// The value that the `size` bits on top of `bits` stand for, 0 to 15 of them: without a branch, since nothing predicts it.
#[inline(always)]
fn value(bits: u64, size: u32) -> i32 {
    let number = ((bits >> 1) >> (63 - size)) as i32;
    // The lower half of the range are the negative values.
    let negative = (bits >> 63) as i32 - 1;
    number - (((1 << size) - 1) & negative)
}

/// Takes a word of a length and returns the value of a size after it.
#[inline(always)]
fn take(bits: &mut Bits<'_>, length: u32, size: u32) -> i32 {
    let value = value(bits.ahead() << length, size);
    bits.skip(length + size);
    value
}

/// Fills a table of `bits` bits for all code words that fit.
fn fill<T: Copy>(bits: u32, table: &mut [T], code: Code<'_>, entry: impl Fn(u8, u32) -> T) {
    for (word, length, symbol) in code.words().take_while(|&(_, length, _)| length <= bits) {
        let first = (word << (bits - length)) as usize;
        table[first..first + (1 << (bits - length))].fill(entry(symbol, length));
    }
}

/// Decodes first coefficients.
pub(super) struct DcTable {
    /// Size of the value in the upper byte, length of the word in the lower; 0 where the word is longer than the table looks.
    one: [u16; 1 << ONE_BITS],
    words: Words,
}

impl DcTable {
    /// `None` when a symbol is no size of a first coefficient of 8 bit pictures.
    pub(super) fn new(code: Code<'_>) -> Option<Self> {
        let mut one = [0; 1 << ONE_BITS];
        fill(ONE_BITS, &mut one, code, |size, length| (u16::from(size) << 8) | length as u16);
        code.symbols.iter().all(|&size| size <= 11).then(|| Self { one, words: Words::new(code) })
    }

    /// Takes a difference of first coefficients, at most [`STEP_BITS`]; 32 bits must be ready.
    #[inline(always)]
    pub(super) fn take(&self, bits: &mut Bits<'_>) -> Option<i32> {
        let one = u32::from(self.one[bits.peek(ONE_BITS)]);
        if one != 0 {
            return Some(take(bits, one & 0xFF, one >> 8));
        }
        let (size, length) = self.words.find(bits.peek(16))?;
        Some(take(bits, length, u32::from(size)))
    }
}

/// Decodes all coefficients but the first.
pub(super) struct AcTable {
    one: [One; 1 << ONE_BITS],
    many: [Many; 1 << MANY_BITS],
    words: Words,
}

/// What the next code word says: `passed << 16 | size << 8 | length`. As with [`Many`], whatever is no value shows as
/// a coefficient beyond the block.
#[derive(Clone, Copy)]
pub(super) struct One(u32);

impl One {
    /// How many coefficients further on the value is; 64 or more when there is none.
    #[inline(always)]
    pub(super) fn passed(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Whether only [`AcTable::take`] can tell: a long word, sixteen zeros, or nothing that belongs here.
    #[inline(always)]
    pub(super) fn is_seldom(self) -> bool {
        self.passed() == Many::NONE
    }

    /// Takes the value, at most [`STEP_BITS`].
    #[inline(always)]
    pub(super) fn take(self, bits: &mut Bits<'_>) -> i32 {
        take(bits, self.0 & 0xFF, self.0 >> 8 & 0xFF)
    }

    fn table(code: Code<'_>) -> [Self; 1 << ONE_BITS] {
        let of = |passed: usize, size: u8, length: u32| {
            Self((passed as u32) << 16 | u32::from(size) << 8 | length)
        };
        let mut table = [of(Many::NONE, 0, 0); 1 << ONE_BITS];
        fill(ONE_BITS, &mut table, code, |symbol, length| match (symbol >> 4, symbol & 15) {
            (0, 0) => of(Many::END, 0, length),
            (_, 0) => of(Many::NONE, 0, 0),
            (run, size) => of(usize::from(run) + 1, size, length),
        });
        table
    }
}

/// Coefficients passed in one step: `passed << 6 | bits`.
///
/// `passed` is [`Many::END`] more when the block ends with them, and [`Many::NONE`] when not even one code word fits: so
/// that whatever needs attention shows as a coefficient beyond the 64 of a block.
#[derive(Clone, Copy)]
pub(super) struct Many(u16);

impl Many {
    /// Added to what is passed when the block ends.
    pub(super) const END: usize = 128;

    /// In place of what is passed when nothing is.
    const NONE: usize = 512;

    fn new(passed: usize, bits: u32) -> Self {
        Self((passed as u16) << 6 | bits as u16)
    }

    /// Bits of what is passed, at most [`STEP_BITS`].
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        u32::from(self.0 & 63)
    }

    /// How many coefficients are passed, see above.
    #[inline(always)]
    pub(super) fn passed(self) -> usize {
        usize::from(self.0 >> 6)
    }

    fn table(code: Code<'_>) -> [Self; 1 << MANY_BITS] {
        // Of each: one code word, and the bits of the word alone.
        let mut first = [(Self::new(Self::NONE, 0), 0); 1 << MANY_BITS];
        fill(MANY_BITS, &mut first, code, |symbol, length| match symbol {
            0x00 => (Self::new(Self::END, length), length),
            // A run without a value that is not of 16 zeros: of a progressive picture.
            0x10..=0xEF if symbol & 15 == 0 => (Self::new(Self::NONE, 0), 0),
            _ => (Self::new(usize::from(symbol >> 4) + 1, length + u32::from(symbol & 15)), length),
        });
        let mut many = first.map(|(one, _)| one);
        for (start, entry) in many.iter_mut().enumerate() {
            while entry.passed() < Self::END && entry.bits() < MANY_BITS {
                let (next, word) = first[(start << entry.bits()) & ((1 << MANY_BITS) - 1)];
                // The word has to lie within the bits that are looked at, its value may lie beyond.
                let known = next.passed() != Self::NONE && entry.bits() + word <= MANY_BITS;
                if !known || entry.passed() + next.passed() % Self::END >= 64 {
                    break;
                }
                *entry = Self::new(entry.passed() + next.passed(), entry.bits() + next.bits());
            }
        }
        many
    }
}

impl AcTable {
    /// The table of a code. Those of the standard's own codes, which many cameras use, are made once.
    pub(super) fn of(code: Code<'_>) -> Arc<Self> {
        static USUAL: LazyLock<[Arc<AcTable>; 2]> =
            LazyLock::new(|| [LUMA, CHROMA].map(|code| Arc::new(AcTable::new(code))));
        match code {
            LUMA => Arc::clone(&USUAL[0]),
            CHROMA => Arc::clone(&USUAL[1]),
            _ => Arc::new(Self::new(code)),
        }
    }

    fn new(code: Code<'_>) -> Self {
        Self { one: One::table(code), many: Many::table(code), words: Words::new(code) }
    }

    /// What the next code word says, without taking it.
    #[inline(always)]
    pub(super) fn one(&self, bits: &Bits<'_>) -> One {
        self.one[bits.peek(ONE_BITS)]
    }

    /// Takes one code word of any kind, and the value after it; 32 bits must be ready. Returns how many coefficients it leads
    /// on, [`Many::END`] when to the end of the block, and the value. `None` for what no baseline picture has.
    #[inline(always)]
    pub(super) fn take(&self, bits: &mut Bits<'_>) -> Option<(usize, i32)> {
        let (symbol, length) = self.words.find(bits.peek(16))?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        let value = take(bits, length, size);
        match (run, size) {
            (0, 0) => Some((Many::END, 0)),
            (1..15, 0) => None,
            _ => Some((run + 1, value)),
        }
    }

    /// What the next bits pass over, without taking them.
    #[inline(always)]
    pub(super) fn many(&self, bits: &Bits<'_>) -> Many {
        self.many[bits.peek(MANY_BITS)]
    }
}

/// The standard's code for luma, ITU-T T.81 table K.5.
const LUMA: Code<'static> = Code {
    counts: &[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D],
    #[rustfmt::skip]
    symbols: &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
        0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
        0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
        0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
        0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
        0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
        0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
        0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
        0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
        0xF9, 0xFA,
    ],
};

/// The standard's code for colour, ITU-T T.81 table K.6.
const CHROMA: Code<'static> = Code {
    counts: &[0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
    #[rustfmt::skip]
    symbols: &[
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
        0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
        0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
        0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
        0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
        0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
        0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
        0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
        0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
        0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
        0xF9, 0xFA,
    ],
};
