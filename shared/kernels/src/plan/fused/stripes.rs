//! The pass over the stripes of a fused block.
//!
//! A stripe is some rows of one image, with the rows above and below that its taps reach: those above are still there from the
//! stripe before, unless another part had it. Small images come several at a time, whole, so that the products are tall.

use super::tiling::{Scratch, Tiling};
use super::{Enter, Fused};
use crate::Map;
use crate::buffer::Buffer;
use crate::depthwise::Form;
use crate::gemm::epilogue::{Affine, Rows};
use crate::gemm::{Left, Size, multiply};
use crate::rows::block_rows;
use crate::rows::source::{Patches, Source};
use crate::simd::{self, Simd, padded};
use crate::threads::{self, Output, Pass, Split};
use std::ops::Range;

/// Writes every value of `out`: the projection plus `plus`, or with a squeeze-excite the activated depthwise output.
///
/// `x` is `[from, inputs]`.
pub(super) fn run(fused: &Fused, from: Map, x: &[f32], plus: Option<&[f32]>, out: Output<'_>) {
    let map = fused.hidden_map(from);
    let to = map.strided(fused.stride);
    let channels = if fused.excite.is_some() { fused.hidden } else { fused.outputs };
    assert_eq!(x.len(), from.pixels() * fused.inputs, "input fits the map");
    assert_eq!(out.len(), to.pixels() * channels, "output fits the map");
    assert!(plus.is_none_or(|plus| plus.len() == out.len()), "the added map is shaped like the output");
    let tiling = Tiling::new(map, fused, threads::available());
    let work =
        to.pixels() * fused.hidden * (fused.taken() + fused.outputs + fused.side * fused.side) / tiling.units;
    let split = Split::new(tiling.units, 1, work);
    let sizes = tiling.scratch(fused);
    let mut scratch = Buffer::take(split.parts() * sizes.total());
    let mut places = vec![0_usize; split.parts() * sizes.places];
    let patches = matches!(fused.enter, Enter::Stem(_)).then(|| Patches::new(from, x));
    let pass = Stripes {
        fused,
        patches,
        map,
        to,
        x,
        plus,
        out,
        tiling,
        sizes,
        scratch: Output::new(&mut scratch),
        places: Output::new(&mut places),
    };
    // SAFETY: the sizes were checked above; every part has its own scratch and writes its own rows.
    unsafe { split.run(&pass) };
}

struct Stripes<'a> {
    fused: &'a Fused,
    /// Of the image, if the block has the stem in it.
    patches: Option<Patches<'a>>,
    /// The hidden map, whole.
    map: Map,
    to: Map,
    x: &'a [f32],
    plus: Option<&'a [f32]>,
    out: Output<'a>,
    tiling: Tiling,
    sizes: Scratch,
    scratch: Output<'a>,
    places: Output<'a, usize>,
}

/// A part's scratch, for which shape of stripe its places were made, and what its hidden rows are.
struct Room {
    spare: *mut f32,
    patches: *mut f32,
    hidden: *mut f32,
    rows: *mut f32,
    places: *mut usize,
    made_for: (usize, usize, usize),
    filled: Filled,
}

/// The last stripe: its image, where its output rows end, and its hidden rows.
#[derive(Clone, Copy, Default)]
struct Filled {
    image: usize,
    end: usize,
    taps: usize,
}

impl Pass for Stripes<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let Tiling { stripes, group, row, taps_max, .. } = self.tiling;
        let border = self.fused.side / 2 * padded(self.fused.hidden);
        // SAFETY: the scratch of this part, divided as its sizes say.
        let mut room = unsafe {
            let spare = self.scratch.at(part * self.sizes.total());
            let patches = spare.add(self.sizes.spare);
            let hidden = patches.add(self.sizes.patches);
            let rows = hidden.add(self.sizes.hidden);
            let places = self.places.at(part * self.sizes.places);
            // The border left and right, which nothing else writes.
            for at in 0..group * taps_max {
                hidden.add(at * row).write_bytes(0, border);
                hidden.add((at + 1) * row - border).write_bytes(0, border);
            }
            let filled = Filled::default();
            Room { spare, patches, hidden, rows, places, made_for: (0, 0, 0), filled }
        };
        let mut unit = units.start;
        while unit < units.end {
            let (images, rows) = if stripes == 1 {
                (unit..units.end.min(unit + group), 0..self.to.height)
            } else {
                let (image, at) = (unit / stripes, unit % stripes);
                let edge = |at: usize| self.to.height * at / stripes;
                (image..image + 1, edge(at)..edge(at + 1))
            };
            unit += images.len();
            // SAFETY: the images and rows exist; the room is this part's.
            unsafe {
                self.fill_hidden::<S>(&mut room, images.clone(), rows.clone());
                match (self.fused.side, self.fused.stride) {
                    (3, 1) if S::SPECIAL => self.convolve::<S, 3, 1>(&room, images.len(), rows.len()),
                    (3, 2) if S::SPECIAL => self.convolve::<S, 3, 2>(&room, images.len(), rows.len()),
                    _ => self.convolve::<S, 0, 0>(&room, images.len(), rows.len()),
                }
                self.leave::<S>(&room, images, rows);
            }
        }
    }
}

impl Stripes<'_> {
    /// The hidden rows that output `rows` of `images` reach.
    ///
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn fill_hidden<S: Simd>(&self, room: &mut Room, images: Range<usize>, rows: Range<usize>) {
        let (fused, row) = (self.fused, self.tiling.row);
        let width = padded(fused.hidden);
        let (side, stride) = (fused.side, fused.stride);
        let taps = (rows.len() - 1) * stride + side;
        let before = room.filled;
        let follows = (before.image, before.end) == (images.start, rows.start) && rows.start > 0;
        let kept = if follows { side - stride } else { 0 };
        room.filled = Filled { image: images.start, end: rows.end, taps };
        // Rows above and below the image are zeros.
        let first = rows.start * stride + kept;
        let above = (side / 2).saturating_sub(first);
        let from = first.saturating_sub(side / 2).min(self.map.height);
        let count = (taps - kept - above).min(self.map.height - from);
        let (above, below) = (kept + above, taps - kept - above - count);
        // SAFETY: `taps` rows per image lie in the room (`rows` is no higher than the highest stripe), and at least `kept` from
        // the stripe before; each image's valid rows come one after the other in `x`, for several images because they are whole.
        unsafe {
            if follows {
                std::ptr::copy(room.hidden.add((before.taps - kept) * row), room.hidden, kept * row);
            }
            for image in 0..images.len() {
                let hidden = room.hidden.add(image * taps * row);
                hidden.add(kept * row).write_bytes(0, (above - kept) * row);
                hidden.add((taps - below) * row).write_bytes(0, below * row);
            }
            let pixels = images.len() * count * self.map.width;
            if room.made_for != (images.len(), above, count) {
                room.made_for = (images.len(), above, count);
                let mut place = room.places;
                for image in 0..images.len() {
                    for y in 0..count {
                        let start = (image * taps + above + y) * row + side / 2 * width;
                        for x in 0..self.map.width {
                            *place = start + x * width;
                            place = place.add(1);
                        }
                    }
                }
            }
            let first = (images.start * self.map.height + from) * self.map.width;
            let dense = match &fused.enter {
                Enter::Expand(dense) | Enter::Stem(dense) => dense,
                Enter::Plain => {
                    for pixel in 0..pixels {
                        let from = self.x.as_ptr().add((first + pixel) * fused.inputs);
                        let to = room.hidden.add(*room.places.add(pixel));
                        for c in (0..fused.inputs).step_by(S::LANES) {
                            S::store(to.add(c), simd::load::<S, true>(from.add(c), fused.inputs - c));
                        }
                    }
                    return;
                }
            };
            let k = fused.taken();
            let block = block_rows(k);
            for start in (0..pixels).step_by(block) {
                let size = Size { m: block.min(pixels - start), n: fused.hidden, k };
                let left = match self.patches {
                    Some(patches) => {
                        let rows = first + start..first + start + size.m;
                        Source::Patches(patches).fill::<S>(rows, k, room.patches);
                        Left { data: room.patches, stride: padded(k) }
                    }
                    None => Left { data: self.x.as_ptr().add((first + start) * k), stride: k },
                };
                let epilogue = Affine {
                    out: room.hidden,
                    at: Rows::Places(room.places.add(start)),
                    scale: None,
                    offset: dense.offset.as_ptr(),
                    activation: dense.activation,
                    residual: None,
                };
                multiply::<S, _, false>(size, left, dense.panels.right::<S>(), room.spare, &epilogue);
            }
        }
    }

    /// The depthwise convolution of `images` times `rows` output rows, from the room's hidden rows to its rows.
    ///
    /// # Safety
    /// As for [`Pass::run`]; the hidden rows were filled for the same stripe.
    #[inline(always)]
    unsafe fn convolve<S: Simd, const K: usize, const STRIDE: usize>(
        &self,
        room: &Room,
        images: usize,
        rows: usize,
    ) {
        let (side, stride) = Form::<K, STRIDE>::of(self.fused.side, self.fused.stride);
        let row = self.tiling.row;
        let taps = (rows - 1) * stride + side;
        let line = self.to.width * padded(self.fused.hidden);
        for image in 0..images {
            let mut y = 0;
            while y < rows {
                // SAFETY: output row y reaches hidden rows y * stride .. + side, all inside the image's `taps`.
                unsafe {
                    let from = room.hidden.add((image * taps + y * stride) * row);
                    let to = room.rows.add((image * rows + y) * line);
                    if STRIDE == 1 && y + 2 <= rows {
                        self.convolve_rows::<S, K, STRIDE, 2>(from, to);
                        y += 2;
                    } else {
                        self.convolve_rows::<S, K, STRIDE, 1>(from, to);
                        y += 1;
                    }
                }
            }
        }
    }

    /// `R` output rows.
    ///
    /// # Safety
    /// As for [`Stripes::convolve`].
    #[inline(always)]
    unsafe fn convolve_rows<S: Simd, const K: usize, const STRIDE: usize, const R: usize>(
        &self,
        from: *const f32,
        to: *mut f32,
    ) {
        let out_width = self.to.width;
        let mut x = 0;
        // SAFETY: forwarded; the pixels exist.
        unsafe {
            while x + 4 <= out_width {
                self.convolve_pixels::<S, K, STRIDE, R, 4>(from, to, x);
                x += 4;
            }
            if Form::<K, STRIDE>::THREES && out_width - x == 3 {
                self.convolve_pixels::<S, K, STRIDE, R, 3>(from, to, x);
                x += 3;
            }
            while x + 2 <= out_width {
                self.convolve_pixels::<S, K, STRIDE, R, 2>(from, to, x);
                x += 2;
            }
            if x < out_width {
                self.convolve_pixels::<S, K, STRIDE, R, 1>(from, to, x);
            }
        }
    }

    /// `P` pixels from `x` on of `R` output rows, all channels.
    ///
    /// # Safety
    /// As for [`Stripes::convolve`]; the pixels exist.
    #[inline(always)]
    unsafe fn convolve_pixels<
        S: Simd,
        const K: usize,
        const STRIDE: usize,
        const R: usize,
        const P: usize,
    >(
        &self,
        from: *const f32,
        to: *mut f32,
        x: usize,
    ) {
        let (side, stride) = Form::<K, STRIDE>::of(self.fused.side, self.fused.stride);
        let width = padded(self.fused.hidden);
        let (row, line) = (self.tiling.row, self.to.width * width);
        let kernel = self.fused.kernel.as_ptr();
        // SAFETY: forwarded; pixels are padded to whole vectors, and so are kernel and offset.
        unsafe {
            for c in (0..self.fused.hidden).step_by(S::LANES) {
                let mut sums = [[S::load(self.fused.offset.as_ptr().add(c)); P]; R];
                for tap in 0..(R - 1) * stride + side {
                    let line = from.add(tap * row + x * stride * width + c);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // Row r has tap row `tap - r * stride`.
                        if tap < r * stride || tap >= r * stride + side {
                            continue;
                        }
                        for kx in 0..side {
                            let weight = S::load(kernel.add(((tap - r * stride) * side + kx) * width + c));
                            for (p, sum) in sums.iter_mut().enumerate() {
                                let value = S::load(line.add((p * stride + kx) * width));
                                *sum = S::fma(value, weight, *sum);
                            }
                        }
                    }
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    self.fused.activation.apply::<S>(sums);
                    for (p, sum) in sums.iter().enumerate() {
                        S::store(to.add(r * line + (x + p) * width + c), *sum);
                    }
                }
            }
        }
    }

    /// From the room's rows to the output, through the projection unless factors come before it.
    ///
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn leave<S: Simd>(&self, room: &Room, images: Range<usize>, rows: Range<usize>) {
        let fused = self.fused;
        let width = padded(fused.hidden);
        let pixels = images.len() * rows.len() * self.to.width;
        let first = (images.start * self.to.height + rows.start) * self.to.width;
        let block = block_rows(width);
        // SAFETY: the stripe's pixels come one after the other in the output, for several images because they are whole.
        unsafe {
            if fused.excite.is_some() {
                for pixel in 0..pixels {
                    let to = self.out.at((first + pixel) * fused.hidden);
                    std::ptr::copy_nonoverlapping(room.rows.add(pixel * width), to, fused.hidden);
                }
                return;
            }
            for start in (0..pixels).step_by(block) {
                let place = (first + start) * fused.outputs;
                let size = Size { m: block.min(pixels - start), n: fused.outputs, k: fused.hidden };
                let left = Left { data: room.rows.add(start * width), stride: width };
                let epilogue = Affine {
                    out: self.out.at(place),
                    at: Rows::Apart(fused.outputs),
                    scale: None,
                    offset: fused.project.offset.as_ptr(),
                    activation: fused.project.activation,
                    residual: self.plus.map(|plus| plus.as_ptr().add(place)),
                };
                multiply::<S, _, false>(size, left, fused.project.panels.right::<S>(), room.spare, &epilogue);
            }
        }
    }
}
