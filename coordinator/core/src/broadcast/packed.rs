//! Moves of some weights, in some two or three bytes each.

/// `(index, move)` in increasing order of index, as LEB128: the distances of the indices, and the moves as multiples of the step of their
/// tensor. A move that a weight's end has cut short need not be one; the lowest bit says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    /// From which index on moves are multiples of which power of two; of 1 before the first.
    shifts: Vec<(u32, u32)>,
    /// The index that would follow at distance zero.
    next: u32,
}

impl Packed {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { bytes: Vec::with_capacity(3 * count), ..Self::default() }
    }

    /// Those from `index` on, which none has reached yet, are multiples of `2^shift`.
    pub(super) fn step_from(&mut self, index: u32, shift: u32) {
        self.shifts.push((index, shift));
    }

    /// Appends one with a larger index.
    pub(super) fn push(&mut self, index: u32, step: i32) {
        put(&mut self.bytes, (index - self.next).into());
        let shift = self.shifts.last().map_or(0, |&(_, shift)| shift);
        let is_cut = step.trailing_zeros() < shift;
        let multiple = if is_cut { step } else { step >> shift };
        // Both signs in order of magnitude.
        let unsigned = ((multiple << 1) ^ (multiple >> 31)) as u32;
        put(&mut self.bytes, u64::from(unsigned) << 1 | u64::from(is_cut));
        self.next = index + 1;
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, i32)> {
        let (mut bytes, mut next) = (&*self.bytes, 0);
        let (mut shifts, mut shift) = (self.shifts.iter().peekable(), 0);
        std::iter::from_fn(move || {
            let index = next + take(&mut bytes)? as u32;
            let packed = take(&mut bytes)?;
            next = index + 1;
            while let Some(&(_, here)) = shifts.next_if(|&&(first, _)| first <= index) {
                shift = here;
            }
            let unsigned = (packed >> 1) as u32;
            let multiple = (unsigned >> 1) as i32 ^ -((unsigned & 1) as i32);
            Some((index, if packed & 1 == 1 { multiple } else { multiple << shift }))
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}
