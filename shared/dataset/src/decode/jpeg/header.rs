//! What stands before the coefficients: size, sampling, tables, restart interval.

use super::huffman::Code;

/// Everything a baseline scan needs, borrowed from the file.
pub(super) struct Header<'a> {
    /// Width in pixels, at least 1.
    pub(super) width: usize,
    /// Height in pixels, at least 1.
    pub(super) height: usize,
    /// One (luma) or three (luma, blue and red difference) components.
    pub(super) components: Vec<Component<'a>>,
    /// Units between two restart markers; 0 without them.
    pub(super) restart: usize,
    /// The bytes after the header of the scan, to the end of the file.
    pub(super) scan: &'a [u8],
}

/// One colour component.
pub(super) struct Component<'a> {
    /// Blocks in a unit of the scan, horizontally and vertically: 1 or 2.
    pub(super) sampling: [usize; 2],
    /// Steps of the coefficients, in zigzag order.
    pub(super) quantisation: [u16; 64],
    /// Code of the first coefficient.
    pub(super) dc: Code<'a>,
    /// Code of all others.
    pub(super) ac: Code<'a>,
}

/// A component as the frame header names it.
struct Named {
    id: u8,
    sampling: [usize; 2],
    table: u8,
}

impl<'a> Header<'a> {
    /// `None` for whatever is not a plain baseline picture in one scan: another process, other colours, odd sampling,
    /// anything between segments.
    pub(super) fn parse(file: &'a [u8]) -> Option<Self> {
        let mut rest = file.strip_prefix(&[0xFF, 0xD8])?;
        let mut tables = Tables::default();
        let mut frame: Option<([usize; 2], Vec<Named>)> = None;
        loop {
            let (marker, segment, after) = segment(rest)?;
            rest = after;
            match marker {
                0xC0 | 0xC1 if frame.is_none() => frame = Some(start_of_frame(segment)?),
                0xC4 => tables.huffman(segment)?,
                0xDB => tables.quantisation(segment)?,
                0xDD => tables.restart = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
                // Motion pictures leave out their tables.
                0xE0 if segment.starts_with(b"AVI1") => return None,
                0xEE => tables.colours(segment)?,
                0xE0..=0xEF | 0xFE => {}
                0xDA => {
                    let ([width, height], named) = frame?;
                    let components = tables.components(&named, segment)?;
                    return Some(Self { width, height, components, restart: tables.restart, scan: rest });
                }
                _ => return None,
            }
        }
    }
}

/// Marker, content and what follows.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(&[0xFF])?;
    while let Some(after) = rest.strip_prefix(&[0xFF]) {
        rest = after;
    }
    let (&marker, rest) = rest.split_first()?;
    let (length, _) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length < 2 {
        return None;
    }
    let (whole, after) = rest.split_at_checked(length)?;
    Some((marker, &whole[2..], after))
}

fn start_of_frame(segment: &[u8]) -> Option<([usize; 2], Vec<Named>)> {
    let (&[precision, h1, h0, w1, w0, count], components) = segment.split_first_chunk::<6>()?;
    let size = [[w1, w0], [h1, h0]].map(|side| usize::from(u16::from_be_bytes(side)));
    if precision != 8 || size.contains(&0) || components.len() != 3 * usize::from(count) {
        return None;
    }
    let name = |c: &[u8]| Named {
        id: c[0],
        sampling: [usize::from(c[1] >> 4), usize::from(c[1] & 15)],
        table: c[2],
    };
    let mut components: Vec<Named> = components.chunks_exact(3).map(name).collect();
    let usual = match &mut components[..] {
        [luma] => {
            let usual = luma.sampling.iter().all(|side| (1..=4).contains(side));
            // A component alone is sent block by block, whatever it says of its sampling.
            luma.sampling = [1, 1];
            usual
        }
        [luma, blue, red] => {
            let coloured = luma.id != blue.id && luma.id != red.id && blue.id != red.id;
            let stored_as_rgb = [luma.id, blue.id, red.id] == *b"RGB";
            coloured
                && !stored_as_rgb
                && luma.sampling.iter().all(|side| (1..=2).contains(side))
                && [blue.sampling, red.sampling] == [[1, 1]; 2]
        }
        _ => false,
    };
    usual.then_some((size, components))
}

/// Tables seen so far, four of a kind.
#[derive(Default)]
struct Tables<'a> {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Code<'a>>; 4],
    ac: [Option<Code<'a>>; 4],
    restart: usize,
    /// Adobe's transform, if one is named: 1 is the usual one.
    transform: Option<u8>,
}

impl<'a> Tables<'a> {
    fn huffman(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols)?;
            let code = Code::new(counts, symbols)?;
            let kind = match place >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *kind.get_mut(usize::from(place & 15))? = Some(code);
            segment = rest;
        }
        Some(())
    }

    fn quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = segment.split_first() {
            let mut steps = [0; 64];
            let bytes = match place >> 4 {
                0 => 64,
                1 => 128,
                _ => return None,
            };
            let (values, rest) = rest.split_at_checked(bytes)?;
            if bytes == 64 {
                steps.iter_mut().zip(values).for_each(|(step, &value)| *step = u16::from(value));
            } else {
                let pairs = values.as_chunks::<2>().0;
                steps.iter_mut().zip(pairs).for_each(|(step, &pair)| *step = u16::from_be_bytes(pair));
            }
            *self.quantisation.get_mut(usize::from(place & 15))? = Some(steps);
            segment = rest;
        }
        Some(())
    }

    /// Adobe's note on colours.
    fn colours(&mut self, segment: &[u8]) -> Option<()> {
        if segment.starts_with(b"Adobe") {
            self.transform = Some(*segment.get(11)?);
        }
        Some(())
    }

    /// The components of the one scan that holds all of them, in their order.
    fn components(&self, named: &[Named], scan: &[u8]) -> Option<Vec<Component<'a>>> {
        let (&count, rest) = scan.split_first()?;
        let (chosen, spectrum) = rest.split_at_checked(2 * named.len())?;
        let in_rgb = named.len() == 3 && self.transform.is_some_and(|transform| transform != 1);
        if usize::from(count) != named.len() || spectrum != [0, 63, 0] || in_rgb {
            return None;
        }
        let component = |(named, chosen): (&Named, &[u8])| {
            (named.id == chosen[0]).then_some(())?;
            Some(Component {
                sampling: named.sampling,
                quantisation: (*self.quantisation.get(usize::from(named.table))?)?,
                dc: (*self.dc.get(usize::from(chosen[1] >> 4))?)?,
                ac: (*self.ac.get(usize::from(chosen[1] & 15))?)?,
            })
        };
        named.iter().zip(chosen.chunks_exact(2)).map(component).collect()
    }
}
