//! Multiples in hardly more bits than their frequencies allow: range asymmetric numeral systems (Duda 2013).
//!
//! A mask does not choose the large values, so that most multiples are small ones. The model is one for the whole message:
//! a frequency for each magnitude, the same for both signs. A state takes up one multiple after the other, the last one first, and gives
//! off words of 16 bits; a decoder goes the other way, and has to arrive where the encoder began.

use crate::error::{DecodeError, Rule};
use crate::frame::{Reader, put_varint};

/// Frequencies of the magnitudes add up to this.
const TOTAL: u32 = 1 << 10;
/// Largest frequency of zero. So every multiple costs 0.18 bits or more, and the bytes say how many there can be.
const ZERO_MAX: u32 = TOTAL / 8 * 7;
/// More multiples than a byte can hold.
pub(super) const PER_BYTE: usize = 64;
/// Every multiple has as many of the values of so many low bits of the state as its magnitude is frequent; zero, twice as many.
const SLOT_BITS: u32 = 11;
const SLOTS: usize = 1 << SLOT_BITS;
/// Where the state begins, and what it does not fall below.
const STATE_MIN: u32 = 1 << 16;

/// The frequency of each magnitude in `multiples`, which are at most `most`. There is at least one.
fn frequencies(multiples: &[i8], most: u8) -> Vec<u32> {
    let mut counts = vec![0; usize::from(most) + 1];
    multiples.iter().for_each(|multiple| counts[usize::from(multiple.unsigned_abs())] += 1);
    // Something has to take what zero may not have.
    if counts[0] == multiples.len() {
        counts[1] = 1;
    }

    let limit = |magnitude: usize| if magnitude == 0 { ZERO_MAX } else { TOTAL };
    let share = |(magnitude, &times): (usize, &usize)| {
        let share = (times as u64 * u64::from(TOTAL) / multiples.len() as u64) as u32;
        share.max(u32::from(times > 0)).min(limit(magnitude))
    };
    let mut frequencies: Vec<u32> = counts.iter().enumerate().map(share).collect();
    // One by one, where it saves or costs about the least: the bits of a magnitude change by times / frequency.
    loop {
        let sum: u32 = frequencies.iter().sum();
        let ratio = |at: usize| counts[at] as f64 / f64::from(frequencies[at]);
        let used = (0..counts.len()).filter(|&at| counts[at] > 0);
        let (at, to) = if sum < TOTAL {
            let open = used.filter(|&at| frequencies[at] < limit(at));
            (open.max_by(|&a, &b| ratio(a).total_cmp(&ratio(b))), 1)
        } else if sum > TOTAL {
            let open = used.filter(|&at| frequencies[at] > 1);
            (open.min_by(|&a, &b| ratio(a).total_cmp(&ratio(b))), -1)
        } else {
            return frequencies;
        };
        let Some(at) = at else { return frequencies };
        frequencies[at] = frequencies[at].wrapping_add_signed(to);
    }
}

/// The slots of every multiple, as (multiple, first, number): those of zero, of 1, of -1, of 2 and so on.
fn slots(frequencies: &[u32]) -> impl Iterator<Item = (i8, u32, u32)> {
    let signed = (0_u8..).zip(frequencies).flat_map(|(magnitude, &frequency)| match magnitude as i8 {
        0 => [(0, 2 * frequency), (0, 0)],
        magnitude => [(magnitude, frequency), (-magnitude, frequency)],
    });
    signed.scan(0, |next, (multiple, number)| {
        let first = *next;
        *next += number;
        Some((multiple, first, number))
    })
}

/// Writes `multiples`, at least one and none beyond `most`, and their frequencies.
pub(super) fn encode(multiples: &[i8], most: u8) -> Vec<u8> {
    let frequencies = frequencies(multiples, most);
    let mut bytes = Vec::new();
    frequencies[1..].iter().for_each(|&frequency| put_varint(&mut bytes, frequency));

    let mut of = [(0, 0); 256];
    for (multiple, first, number) in slots(&frequencies).filter(|slots| slots.2 > 0) {
        of[usize::from(multiple as u8)] = (first, number);
    }
    let mut state = STATE_MIN;
    let mut words = Vec::with_capacity(multiples.len() / 2);
    for &multiple in multiples.iter().rev() {
        let (first, number) = of[usize::from(multiple as u8)];
        if state >= number << (32 - SLOT_BITS) {
            words.push(state as u16);
            state >>= 16;
        }
        state = ((state / number) << SLOT_BITS) + first + state % number;
    }
    bytes.extend_from_slice(&state.to_le_bytes());
    words.iter().rev().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes
}

/// What a value of the low bits means.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    multiple: i8,
    /// Of how many of this multiple it is which.
    number: u16,
    position: u16,
}

/// Reads what [`encode`] wrote.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    slots: Box<[Slot; SLOTS]>,
    state: u32,
    words: &'a [[u8; 2]],
    /// Where the words end in the message, for errors.
    end: usize,
    odd: bool,
}

impl<'a> Decoder<'a> {
    /// Reads the frequencies of magnitudes up to `most`, and the state.
    pub(super) fn new(reader: &mut Reader<'a>, most: u8) -> Result<Self, DecodeError> {
        let start = reader.offset();
        let mut frequencies = vec![0];
        for _ in 0..most {
            frequencies.push(reader.bounded("frequency", 0, TOTAL as usize)? as u32);
        }
        let (sum, min) = (frequencies.iter().sum::<u32>(), TOTAL - ZERO_MAX);
        if !(min..=TOTAL).contains(&sum) {
            let (found, min, max) = (sum.into(), min.into(), TOTAL.into());
            let rule = Rule::Range { what: "sum of frequencies", found, min, max };
            return Err(DecodeError { offset: start, rule });
        }
        frequencies[0] = TOTAL - sum;
        let mut table = Box::new([Slot::default(); SLOTS]);
        for (multiple, first, number) in slots(&frequencies) {
            let range = first as usize..(first + number) as usize;
            for (position, slot) in (0..).zip(&mut table[range]) {
                *slot = Slot { multiple, number: number as u16, position };
            }
        }
        let start = reader.offset();
        let state = u32::from_le_bytes(reader.array()?);
        if state < STATE_MIN {
            let (found, min, max) = (state.into(), STATE_MIN.into(), u32::MAX.into());
            return Err(DecodeError { offset: start, rule: Rule::Range { what: "state", found, min, max } });
        }
        let (words, odd) = reader.rest().as_chunks();
        Ok(Self { slots: table, state, words, end: reader.offset(), odd: !odd.is_empty() })
    }

    /// The error of breaking `rule` here.
    #[cold]
    pub(super) fn error(&self, rule: Rule) -> DecodeError {
        DecodeError { offset: self.end - 2 * self.words.len() - usize::from(self.odd), rule }
    }

    /// The next multiple.
    #[inline]
    pub(super) fn multiple(&mut self) -> Result<i8, DecodeError> {
        let Slot { multiple, number, position } = self.slots[self.state as usize % SLOTS];
        self.state = u32::from(number) * (self.state >> SLOT_BITS) + u32::from(position);
        if self.state < STATE_MIN {
            let Some((&word, rest)) = self.words.split_first() else {
                return Err(self.error(Rule::Truncated));
            };
            self.state = self.state << 16 | u32::from(u16::from_le_bytes(word));
            self.words = rest;
        }
        Ok(multiple)
    }

    /// Checks that everything was read and nothing was made up.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.state != STATE_MIN {
            let (expected, found) = (STATE_MIN.into(), self.state.into());
            return Err(self.error(Rule::Mismatch { what: "the last state", expected, found }));
        }
        match 2 * self.words.len() + usize::from(self.odd) {
            0 => Ok(()),
            found => Err(self.error(Rule::Trailing { found })),
        }
    }
}

#[cfg(test)]
mod tests;
