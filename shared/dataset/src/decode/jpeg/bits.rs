//! The coefficients' bytes as bits.
//!
//! Stuffed zeros and markers are taken out first, in one pass over the file that copies eight bytes at a time: the
//! reader then never looks for them, and what a marker may be is decided in one place.

/// Zeros after each part, so that the reader may always take eight bytes.
const PADDING: usize = 8;

/// Bits that are ready after a refill.
pub(super) const READY: u32 = 56;

/// The data of a scan without stuffing, in the parts between its restart markers.
pub(super) struct Entropy {
    bytes: Vec<u8>,
    /// Where each part begins and ends in `bytes`; [`PADDING`] zeros follow.
    parts: Vec<std::ops::Range<usize>>,
}

impl Entropy {
    /// Of the bytes after the header of a scan. `None` unless restart markers come in their order, there are
    /// `parts` parts, and the end of the image follows at once.
    pub(super) fn new(scan: &[u8], parts: usize) -> Option<Self> {
        // What is taken out only makes it shorter; padding is what is put in.
        let mut bytes = vec![0_u8; scan.len() + PADDING * parts.checked_add(1)?];
        let mut found = Vec::new();
        let (mut from, mut to, mut begin) = (0, 0, 0);
        loop {
            while let Some(&eight) = scan.get(from..).and_then(|rest| rest.first_chunk::<8>())
                && !has_ff(u64::from_ne_bytes(eight))
            {
                bytes[to..to + 8].copy_from_slice(&eight);
                (from, to) = (from + 8, to + 8);
            }
            let byte = *scan.get(from)?;
            from += 1;
            if byte != 0xFF {
                bytes[to] = byte;
                to += 1;
                continue;
            }
            let mut marker = *scan.get(from)?;
            while marker == 0xFF {
                from += 1;
                marker = *scan.get(from)?;
            }
            from += 1;
            if marker == 0 {
                bytes[to] = 0xFF;
                to += 1;
                continue;
            }
            found.push(begin..to);
            if marker == 0xD9 {
                break;
            }
            // A surplus part would also outgrow the buffer.
            if usize::from(marker.wrapping_sub(0xD0)) != (found.len() - 1) % 8 || found.len() >= parts {
                return None;
            }
            to += PADDING;
            begin = to;
        }
        (found.len() == parts).then_some(Self { bytes, parts: found })
    }

    /// A reader for each part.
    pub(super) fn readers(&self) -> impl Iterator<Item = Bits<'_>> {
        self.parts.iter().map(|part| Bits::new(&self.bytes[part.start..part.end + PADDING]))
    }
}

/// Whether one of the bytes is 0xFF.
fn has_ff(eight: u64) -> bool {
    let inverted = !eight;
    inverted.wrapping_sub(0x0101_0101_0101_0101) & eight & 0x8080_8080_8080_8080 != 0
}

/// Reads bits from the top. Beyond the end come zeros; [`Bits::is_past_the_end`] tells.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first on top. Below `count` of them lie bits that the next refill brings again.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0 }
    }

    /// Makes at least [`READY`] bits ready.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let next = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>());
        let next = next.map_or(0, |&eight| u64::from_be_bytes(eight));
        self.buffer |= next >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= READY;
    }

    /// The next `count` bits as a number, 1 to 32 of them, without taking them.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> usize {
        (self.buffer >> (64 - count)) as usize
    }

    /// The bits that are ready, the next on top; what lies below them means nothing.
    #[inline(always)]
    pub(super) fn ahead(&self) -> u64 {
        self.buffer
    }

    /// Takes bits that are ready.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        debug_assert!(count <= self.count);
        self.buffer <<= count;
        self.count = self.count.wrapping_sub(count);
    }

    /// Whether more bits were taken than there are.
    pub(super) fn is_past_the_end(&self) -> bool {
        self.taken() > self.bits()
    }

    /// Whether all bits were taken, but for the filling of the last byte.
    pub(super) fn is_at_the_end(&self) -> bool {
        !self.is_past_the_end() && self.bits() - self.taken() < 8
    }

    fn taken(&self) -> u64 {
        self.at as u64 * 8 - u64::from(self.count)
    }

    fn bits(&self) -> u64 {
        (self.data.len() - PADDING) as u64 * 8
    }
}
