//! Three passes from the output's gradient to the input's: project, depthwise, expand; two more through a squeeze-excite.

use super::{Gradients, LayerGradients, Saved, Weights, deep};
use crate::Wanted;
use crate::buffer::{Buffer, Fresh};
use crate::depthwise::backward::{Convolution, convolve_gradients};
use crate::error::{Error, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{NormMap, gradient_sums};
use crate::rows::backward::{GateInput, InputGradient, plain_gradients, product_gradients};
use crate::rows::gradient::GradientSource;
use crate::threads::{Output, together};

/// Gradients of a loss whose gradient with respect to the output is `gradient`; `x` and `weights` are those of the
/// forward pass.
///
/// # Errors
/// When lengths disagree with the forward pass.
pub fn backward(
    saved: &Saved,
    x: &[f32],
    weights: &Weights<'_>,
    gradient: &[f32],
    wanted: Wanted,
) -> Result<Gradients, Error> {
    let sizes = &saved.sizes;
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    check_len("block input", x, rows * sizes.inputs)?;
    check_len("block output gradient", gradient, out_rows * sizes.outputs)?;
    check_len("project weight", weights.project, sizes.outputs * sizes.hidden)?;
    check_len("depthwise kernel", weights.depthwise, sizes.side * sizes.side * sizes.hidden)?;
    let expand_weight = weights.expand.unwrap_or(&[]);
    let expand_len = if saved.expand.is_some() { sizes.hidden * sizes.inputs } else { 0 };
    check_len("expand weight", expand_weight, expand_len)?;
    together(|| run(saved, x, weights, gradient, wanted))
}

fn run(
    saved: &Saved,
    x: &[f32],
    weights: &Weights<'_>,
    gradient: &[f32],
    wanted: Wanted,
) -> Result<Gradients, Error> {
    let sizes = &saved.sizes;
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    let expand_weight = weights.expand.unwrap_or(&[]);
    let made;
    let raws = match &saved.raws {
        Some(raws) => raws,
        None => {
            made = saved.again(x, weights);
            &made
        }
    };
    // Project: the sums over the incoming gradient, then both gradients in one pass.
    let (raw, map) = (&raws.project, &saved.project);
    let needs_sums = map.live() || wanted.affine;
    let sums = needs_sums.then(|| gradient_sums(gradient, sizes.outputs, Some((raw, map))));
    let (pullback, norm) = map.pullback(sums.as_ref(), wanted.affine);
    let (hidden_raw, hidden_map) = (&raws.depthwise, &saved.depthwise);
    let mut hidden_gradient = Buffer::take(out_rows * sizes.hidden);
    let panels = Panels::rows(weights.project, sizes.outputs, sizes.hidden);
    let hidden_gate = gate_input(hidden_raw, hidden_map, wanted);
    let found = product_gradients(
        out_rows,
        (sizes.hidden, sizes.outputs),
        GradientSource { gradient, pullback: Some(pullback.view(raw, Some(map))) },
        deep(hidden_raw, hidden_map, saved.excitation.as_ref()),
        wanted.weights,
        false,
        Some(InputGradient {
            panels: &panels,
            out: Output::new(&mut hidden_gradient),
            residual: None,
            // Through a squeeze-excite a gradient needs all of it first.
            gate: saved.excitation.is_none().then_some(hidden_gate),
        }),
    );
    let project = LayerGradients { weight: found.weights, norm };
    let (squeeze, sums) = match &saved.excitation {
        Some(excitation) => {
            let weights = weights.squeeze.unwrap_or_default();
            let (raw, map, sums) = (hidden_gate.raw, hidden_gate.map, hidden_gate.sums);
            let (gradients, sums) =
                excitation.backward(&weights, raw, map, &mut hidden_gradient, wanted, sums)?;
            (Some(gradients), sums)
        }
        None => (None, found.sums),
    };

    // Depthwise.
    let (pullback, norm) = hidden_map.pullback(sums.as_ref(), wanted.affine);
    let source =
        GradientSource { gradient: &hidden_gradient, pullback: Some(pullback.view(hidden_raw, None)) };
    let residual = saved.residual.then_some(gradient);
    let convolution = Convolution {
        geometry: sizes.geometry(),
        gradient: source,
        input: x,
        gate: None,
        kernel: weights.depthwise,
        kernel_gradient: wanted.weights,
        out: None,
        residual: None,
    };
    let (Some(raw), Some(map)) = (&raws.expand, &saved.expand) else {
        let mut input = wanted.input.then(|| Fresh::new(rows * sizes.inputs));
        let out = input.as_mut().map(Fresh::output);
        let found = convolve_gradients(Convolution { out, residual, ..convolution });
        let depthwise = LayerGradients { weight: found.kernel, norm };
        // SAFETY: the depthwise pass wrote every value.
        let input = input.map(|fresh| unsafe { fresh.finish() });
        return Ok(Gradients { input, expand: None, depthwise, squeeze, project });
    };
    let mut expand_gradient = Buffer::take(rows * sizes.hidden);
    let found = convolve_gradients(Convolution {
        input: raw,
        gate: Some(gate_input(raw, map, wanted)),
        out: Some(Output::new(&mut expand_gradient)),
        ..convolution
    });
    let depthwise = LayerGradients { weight: found.kernel, norm };

    // Expand.
    let (pullback, norm) = map.pullback(found.sums.as_ref(), wanted.affine);
    let source = GradientSource { gradient: &expand_gradient, pullback: Some(pullback.view(raw, None)) };
    let (input, weight) = plain_gradients(rows, source, x, expand_weight, residual, wanted);
    let expand = Some(LayerGradients { weight, norm });
    Ok(Gradients { input, expand, depthwise, squeeze, project })
}

fn gate_input<'a>(raw: &'a [f32], map: &'a NormMap, wanted: Wanted) -> GateInput<'a> {
    GateInput { raw, map, sums: map.live() || wanted.affine }
}
