//! A block in stripes: a few rows of the hidden maps at a time, from expansion to projection, in one part's scratch.
//!
//! ```text
//! x --expand--> hidden rows, a border of zeros around --depthwise--> rows --project--> output rows
//! ```
//!
//! In place of the expansion there may be the network's stem, or nothing.
//!
//! A stripe is some rows of one image, with the rows above and below that its taps reach computed again; small images
//! come several at a time, whole, so that the products are tall.

mod tiling;

use tiling::{Scratch, Tiling};

use super::{Dense, fold, fold_pointwise, pad};
use crate::Map;
use crate::block::Block;
use crate::buffer::Buffer;
use crate::depthwise::pad_kernel;
use crate::error::{Error, check_dim, check_len};
use crate::gemm::epilogue::{Affine, Scatter};
use crate::gemm::{Left, Size, multiply};
use crate::rows::block_rows;
use crate::rows::source::{Patches, Source};
use crate::simd::{self, Simd, padded};
use crate::threads::{self, Output, Pass, Split};
use std::ops::Range;

/// Taps of a depthwise kernel per side.
const K: usize = 3;

/// How the input becomes the hidden map.
#[derive(Debug)]
enum Enter {
    /// It is the hidden map.
    Plain,
    /// By a 1x1 convolution.
    Expand(Dense),
    /// By the network's stem: the input is an image.
    Stem(Dense),
}

/// A block with folded and packed weights.
#[derive(Debug)]
pub(crate) struct Fused {
    inputs: usize,
    hidden: usize,
    outputs: usize,
    stride: usize,
    enter: Enter,
    /// `[K, K, padded hidden]`.
    kernel: Buffer,
    /// Padded.
    offset: Buffer,
    project: Dense,
}

impl Fused {
    pub(crate) fn new(inputs: usize, block: &Block<'_>) -> Result<Self, Error> {
        if !(1..=2).contains(&block.stride) {
            return Err(Error::Stride { found: block.stride });
        }
        let hidden = block.depthwise.norm.gamma.len();
        check_dim("depthwise kernel", "channels", hidden)?;
        check_len("depthwise kernel", block.depthwise.weight, K * K * hidden)?;
        let enter = match &block.expand {
            Some(layer) => {
                if layer.norm.gamma.len() != hidden {
                    let found = layer.norm.gamma.len();
                    return Err(Error::Length { tensor: "expand norm", expected: hidden, found });
                }
                Enter::Expand(fold_pointwise(layer.weight, &layer.norm, inputs, true, "expand weight")?)
            }
            None if inputs != hidden => {
                return Err(Error::Length { tensor: "block input", expected: hidden, found: inputs });
            }
            None => Enter::Plain,
        };
        let (scale, offset) = fold(&block.depthwise.norm, "depthwise")?;
        let scaled: Vec<f32> =
            block.depthwise.weight.iter().zip(scale.iter().cycle()).map(|(w, scale)| w * scale).collect();
        let layer = &block.project;
        let activate = block.activate_output;
        let project = fold_pointwise(layer.weight, &layer.norm, hidden, activate, "project weight")?;
        let outputs = layer.norm.gamma.len();
        if block.residual && (block.stride != 1 || inputs != outputs) {
            return Err(Error::Residual { stride: block.stride, inputs, outputs });
        }
        Ok(Self {
            inputs,
            hidden,
            outputs,
            stride: block.stride,
            enter,
            kernel: pad_kernel(&scaled, hidden),
            offset: pad(&offset),
            project,
        })
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Whether nothing stands before the depthwise convolution.
    pub(crate) fn begins_depthwise(&self) -> bool {
        matches!(self.enter, Enter::Plain)
    }

    /// Puts the stem that made the input so far into the block.
    pub(super) fn absorb(&mut self, stem: Dense) {
        self.inputs = stem.panels.k() / 9;
        self.enter = Enter::Stem(stem);
    }

    /// The hidden map for an input of `from`.
    pub(crate) fn hidden_map(&self, from: Map) -> Map {
        if matches!(self.enter, Enter::Stem(_)) { from.strided(2) } else { from }
    }

    /// Values of a row of the product that makes the hidden map.
    fn taken(&self) -> usize {
        match &self.enter {
            Enter::Plain => self.inputs,
            Enter::Expand(dense) | Enter::Stem(dense) => dense.panels.k(),
        }
    }

    /// Writes every value of `out`; `x` is `[from, inputs]`.
    pub(crate) fn run(&self, from: Map, x: &[f32], plus: Option<&[f32]>, out: Output<'_>) {
        let map = self.hidden_map(from);
        let to = map.strided(self.stride);
        assert_eq!(x.len(), from.pixels() * self.inputs, "input fits the map");
        assert_eq!(out.len(), to.pixels() * self.outputs, "output fits the map");
        assert!(plus.is_none_or(|plus| plus.len() == out.len()), "the added map is shaped like the output");
        let tiling = Tiling::new(map, self.stride, padded(self.hidden), threads::available());
        let work = to.pixels() * self.hidden * (self.taken() + self.outputs + K * K) / tiling.units;
        let split = Split::new(tiling.units, 1, work);
        let sizes = tiling.scratch(self);
        let mut scratch = Buffer::take(split.parts() * sizes.total());
        let mut places = vec![0_usize; split.parts() * sizes.places];
        let patches = matches!(self.enter, Enter::Stem(_)).then(|| Patches::new(from, x));
        let pass = Stripes {
            fused: self,
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

/// A part's scratch, and for which shape of stripe its places were made.
struct Room {
    spare: *mut f32,
    patches: *mut f32,
    hidden: *mut f32,
    rows: *mut f32,
    places: *mut usize,
    made_for: (usize, usize, usize),
}

impl Pass for Stripes<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let Tiling { stripes, group, row, taps_max, .. } = self.tiling;
        let width = padded(self.fused.hidden);
        // SAFETY: the scratch of this part, divided as its sizes say.
        let mut room = unsafe {
            let spare = self.scratch.at(part * self.sizes.total());
            let patches = spare.add(self.sizes.spare);
            let hidden = patches.add(self.sizes.patches);
            let rows = hidden.add(self.sizes.hidden);
            let places = self.places.at(part * self.sizes.places);
            // The border left and right, which nothing else writes.
            for at in 0..group * taps_max {
                hidden.add(at * row).write_bytes(0, K / 2 * width);
                hidden.add((at + 1) * row - K / 2 * width).write_bytes(0, K / 2 * width);
            }
            Room { spare, patches, hidden, rows, places, made_for: (0, 0, 0) }
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
                if self.fused.stride == 1 {
                    self.convolve::<S, 1>(&room, images.len(), rows.len());
                } else {
                    self.convolve::<S, 2>(&room, images.len(), rows.len());
                }
                self.project::<S>(&room, images, rows);
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
        let stride = fused.stride;
        let taps = (rows.len() - 1) * stride + K;
        // Rows above and below the image are zeros.
        let first = rows.start * stride;
        let above = (K / 2).saturating_sub(first);
        let from = first.saturating_sub(K / 2);
        let count = (taps - above).min(self.map.height - from);
        let below = taps - above - count;
        // SAFETY: `taps` rows per image lie in the room (`rows` is no higher than the highest stripe); each image's valid
        // rows come one after the other in `x`, for several images because they are whole.
        unsafe {
            for image in 0..images.len() {
                let hidden = room.hidden.add(image * taps * row);
                hidden.write_bytes(0, above * row);
                hidden.add((taps - below) * row).write_bytes(0, below * row);
            }
            let pixels = images.len() * count * self.map.width;
            if room.made_for != (images.len(), above, count) {
                room.made_for = (images.len(), above, count);
                let mut place = room.places;
                for image in 0..images.len() {
                    for y in 0..count {
                        let start = (image * taps + above + y) * row + K / 2 * width;
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
                let epilogue = Scatter {
                    out: room.hidden,
                    places: room.places.add(start),
                    offset: dense.offset.as_ptr(),
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
    unsafe fn convolve<S: Simd, const STRIDE: usize>(&self, room: &Room, images: usize, rows: usize) {
        let row = self.tiling.row;
        let taps = (rows - 1) * STRIDE + K;
        let line = self.to.width * padded(self.fused.hidden);
        for image in 0..images {
            let mut y = 0;
            while y < rows {
                // SAFETY: output row y reaches hidden rows y * STRIDE .. + K, all inside the image's `taps`.
                unsafe {
                    let from = room.hidden.add((image * taps + y * STRIDE) * row);
                    let to = room.rows.add((image * rows + y) * line);
                    if STRIDE == 1 && y + 2 <= rows {
                        self.convolve_rows::<S, STRIDE, 2>(from, to);
                        y += 2;
                    } else {
                        self.convolve_rows::<S, STRIDE, 1>(from, to);
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
    unsafe fn convolve_rows<S: Simd, const STRIDE: usize, const R: usize>(
        &self,
        from: *const f32,
        to: *mut f32,
    ) {
        let out_width = self.to.width;
        let mut x = 0;
        // SAFETY: forwarded; the pixels exist.
        unsafe {
            while x + 4 <= out_width {
                self.convolve_pixels::<S, STRIDE, R, 4>(from, to, x);
                x += 4;
            }
            match out_width - x {
                3 => self.convolve_pixels::<S, STRIDE, R, 3>(from, to, x),
                2 => self.convolve_pixels::<S, STRIDE, R, 2>(from, to, x),
                1 => self.convolve_pixels::<S, STRIDE, R, 1>(from, to, x),
                _ => {}
            }
        }
    }

    /// `P` pixels from `x` on of `R` output rows, all channels.
    ///
    /// # Safety
    /// As for [`Stripes::convolve`]; the pixels exist.
    #[inline(always)]
    unsafe fn convolve_pixels<S: Simd, const STRIDE: usize, const R: usize, const P: usize>(
        &self,
        from: *const f32,
        to: *mut f32,
        x: usize,
    ) {
        let width = padded(self.fused.hidden);
        let (row, line) = (self.tiling.row, self.to.width * width);
        let kernel = self.fused.kernel.as_ptr();
        // SAFETY: forwarded; pixels are padded to whole vectors, and so are kernel and offset.
        unsafe {
            for c in (0..self.fused.hidden).step_by(S::LANES) {
                let mut sums = [[S::load(self.fused.offset.as_ptr().add(c)); P]; R];
                for tap in 0..(R - 1) * STRIDE + K {
                    let line = from.add(tap * row + x * STRIDE * width + c);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // Row r has tap row `tap - r * STRIDE`.
                        if tap < r * STRIDE || tap >= r * STRIDE + K {
                            continue;
                        }
                        for kx in 0..K {
                            let weight = S::load(kernel.add(((tap - r * STRIDE) * K + kx) * width + c));
                            for (p, sum) in sums.iter_mut().enumerate() {
                                let value = S::load(line.add((p * STRIDE + kx) * width));
                                *sum = S::fma(value, weight, *sum);
                            }
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (p, sum) in sums.iter().enumerate() {
                        S::store(to.add(r * line + (x + p) * width + c), S::relu6(*sum));
                    }
                }
            }
        }
    }

    /// From the room's rows to the output.
    ///
    /// # Safety
    /// As for [`Pass::run`].
    #[inline(always)]
    unsafe fn project<S: Simd>(&self, room: &Room, images: Range<usize>, rows: Range<usize>) {
        let fused = self.fused;
        let width = padded(fused.hidden);
        let pixels = images.len() * rows.len() * self.to.width;
        let first = (images.start * self.to.height + rows.start) * self.to.width;
        let block = block_rows(width);
        // SAFETY: the stripe's pixels come one after the other in the output, for several images because they are whole.
        unsafe {
            for start in (0..pixels).step_by(block) {
                let place = (first + start) * fused.outputs;
                let size = Size { m: block.min(pixels - start), n: fused.outputs, k: fused.hidden };
                let left = Left { data: room.rows.add(start * width), stride: width };
                let epilogue = Affine {
                    out: self.out.at(place),
                    stride: fused.outputs,
                    scale: None,
                    offset: fused.project.offset.as_ptr(),
                    activate: fused.project.activate,
                    residual: self.plus.map(|plus| plus.as_ptr().add(place)),
                };
                multiply::<S, _, false>(size, left, fused.project.panels.right::<S>(), room.spare, &epilogue);
            }
        }
    }
}
