//! Moves of some weights, in some three or four bytes each.

/// `(index, move)` in increasing order of index: the distances of the indices and the moves, as LEB128.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    /// The index that would follow at distance zero.
    next: u32,
}

impl Packed {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { bytes: Vec::with_capacity(4 * count), next: 0 }
    }

    /// Appends one with a larger index.
    pub(super) fn push(&mut self, index: u32, step: i32) {
        put(&mut self.bytes, index - self.next);
        // Both signs in order of magnitude.
        put(&mut self.bytes, ((step << 1) ^ (step >> 31)) as u32);
        self.next = index + 1;
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, i32)> {
        let (mut bytes, mut next) = (&*self.bytes, 0);
        std::iter::from_fn(move || {
            let index = next + take(&mut bytes)?;
            let step = take(&mut bytes)?;
            next = index + 1;
            Some((index, (step >> 1) as i32 ^ -((step & 1) as i32)))
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}
