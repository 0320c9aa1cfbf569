//! 1x1 convolutions forward: `[rows, k] x [k, n]`, with the statistics of the result or its final form.

use super::{block_rows, source::Source};
use crate::activation::Activation;
use crate::buffer::{Buffer, Fresh};
use crate::gemm::epilogue::{Affine, Raw, Rows};
use crate::gemm::pack::Panels;
use crate::gemm::{Left, Size, TILE_ROWS_MAX, multiply};
use crate::norm::{Norm, NormMap, apply};
use crate::simd::{Simd, padded};
use crate::sums::{Sums, SumsView};
use crate::threads::{Output, Pass, Split};
use std::ops::Range;

/// What becomes of the product.
#[derive(Clone, Copy)]
pub(crate) enum Finish<'a> {
    /// Stored raw; the batch norm map follows later.
    Raw,
    /// `scale * product + offset` (padded coefficients, no scale is one), activation, residual: nothing is left to do.
    Affine {
        scale: Option<&'a [f32]>,
        offset: &'a [f32],
        activation: Activation,
        residual: Option<&'a [f32]>,
    },
}

/// Multiplies all rows of `source` with `panels` into `out`, writing every value of it; returns the moments of the raw
/// product when asked.
pub(crate) fn product(
    source: Source<'_>,
    rows: usize,
    panels: &Panels<'_>,
    finish: Finish<'_>,
    moments: bool,
    out: Output<'_>,
) -> Option<Sums> {
    let (k, n) = (panels.k(), panels.n());
    assert_eq!(out.len(), rows * n, "output is rows x n");
    source.check(rows, k);
    if let Finish::Affine { scale, offset, residual, .. } = finish {
        assert!(
            scale.is_none_or(|s| s.len() == padded(n)) && offset.len() == padded(n),
            "coefficients are padded"
        );
        assert!(residual.is_none_or(|r| r.len() == rows * n), "residual is rows x n");
    }
    let split = Split::new(rows, 2 * TILE_ROWS_MAX, k * n);
    let mut sums = moments.then(|| Sums::new(n, 2, split.parts()));
    let block = block_rows(padded(k));
    let filled = if source.plain().is_some() { 0 } else { block * padded(k) };
    let each = filled + TILE_ROWS_MAX * k;
    let mut scratch = Buffer::take(split.parts() * each);
    let pass = Product {
        source,
        panels,
        finish,
        out,
        sums: sums.as_mut().map(Sums::view),
        scratch: Output::new(&mut scratch),
        each,
        block,
    };
    // SAFETY: the sizes were checked above; scratch and sums have room for every part.
    unsafe { split.run(&pass) };
    sums
}

/// What [`normed`] makes.
pub(crate) struct Normed {
    /// `[rows, n]`.
    pub(crate) output: Vec<f32>,
    pub(crate) map: NormMap,
    /// The raw product, if it was made.
    pub(crate) raw: Option<Buffer>,
}

/// The product of all rows of `source` with `panels`, normalised, activated and with `residual` added; in one pass with fixed
/// statistics unless `save` asks for the raw product.
pub(crate) fn normed(
    source: Source<'_>,
    rows: usize,
    panels: &Panels<'_>,
    (norm, activation): (&Norm<'_>, Activation),
    residual: Option<&[f32]>,
    save: bool,
) -> Normed {
    let mut output = Fresh::new(rows * panels.n());
    let (map, raw) = if norm.live() || save {
        let mut raw = Buffer::take(rows * panels.n());
        let sums = product(source, rows, panels, Finish::Raw, norm.live(), Output::new(&mut raw));
        let map = norm.map(activation, sums.as_ref(), rows);
        apply(&raw, &map, residual, output.output());
        (map, Some(raw))
    } else {
        let map = norm.map(activation, None, rows);
        let (scale, offset) = (Some(&map.scale[..]), &map.offset[..]);
        let finish = Finish::Affine { scale, offset, activation, residual };
        product(source, rows, panels, finish, false, output.output());
        (map, None)
    };
    // SAFETY: the pass of either branch wrote every value.
    Normed { output: unsafe { output.finish() }, map, raw }
}

struct Product<'a> {
    source: Source<'a>,
    panels: &'a Panels<'a>,
    finish: Finish<'a>,
    out: Output<'a>,
    sums: Option<SumsView<'a>>,
    scratch: Output<'a>,
    each: usize,
    block: usize,
}

impl Pass for Product<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, part: usize, units: Range<usize>) {
        let (k, n) = (self.panels.k(), self.panels.n());
        // SAFETY: `product` checked the sizes; each part has its own scratch and sums and writes its own rows.
        unsafe {
            let spare = self.scratch.at(part * self.each);
            let filled = spare.add(TILE_ROWS_MAX * k);
            let slot = self.sums.map(|sums| sums.part(part));
            let mut start = units.start;
            while start < units.end {
                let m = self.block.min(units.end - start);
                let left = match self.source.plain() {
                    Some(values) => Left { data: values.add(start * k), stride: k },
                    None => {
                        self.source.fill::<S>(start..start + m, k, filled);
                        Left { data: filled, stride: padded(k) }
                    }
                };
                let (size, right, out) = (Size { m, n, k }, self.panels.right::<S>(), self.out.at(start * n));
                match self.finish {
                    Finish::Raw => {
                        let epilogue = Raw { out, stride: n, moments: slot };
                        multiply::<S, _, false>(size, left, right, spare, &epilogue);
                    }
                    Finish::Affine { scale, offset, activation, residual } => {
                        let epilogue = Affine {
                            out,
                            at: Rows::Apart(n),
                            scale: scale.map(<[f32]>::as_ptr),
                            offset: offset.as_ptr(),
                            activation,
                            residual: residual.map(|values| values.as_ptr().add(start * n)),
                        };
                        multiply::<S, _, false>(size, left, right, spare, &epilogue);
                    }
                }
                if let Some(slot) = slot {
                    slot.fold_moments(m, n);
                }
                start += m;
            }
        }
    }
}
