//! Three passes from the output's gradient to the input's: project, depthwise, expand.

use super::{Gradients, LayerGradients, Saved, Weights, pending};
use crate::Wanted;
use crate::buffer::{Buffer, Fresh};
use crate::depthwise::backward::convolve_gradients;
use crate::error::{Error, check_len};
use crate::gemm::pack::Panels;
use crate::norm::{NormMap, gradient_sums};
use crate::rows::backward::{GateInput, InputGradient, product_gradients};
use crate::rows::source::{GradientSource, Source};
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
    check_len("depthwise kernel", weights.depthwise, 9 * sizes.hidden)?;
    let expand_weight = weights.expand.unwrap_or(&[]);
    let expand_len = if saved.expand.is_some() { sizes.hidden * sizes.inputs } else { 0 };
    check_len("expand weight", expand_weight, expand_len)?;
    Ok(together(|| run(saved, x, weights, gradient, wanted)))
}

fn run(saved: &Saved, x: &[f32], weights: &Weights<'_>, gradient: &[f32], wanted: Wanted) -> Gradients {
    let sizes = &saved.sizes;
    let (rows, out_rows) = (sizes.rows(), sizes.out_rows());
    let expand_weight = weights.expand.unwrap_or(&[]);
    // Project: the sums over the incoming gradient, then both gradients in one pass.
    let (raw, map) = &saved.project;
    let gate = saved.activate_output.then_some(map);
    let needs_sums = map.live() || wanted.affine;
    let sums = needs_sums.then(|| gradient_sums(gradient, sizes.outputs, Some((raw, map)), gate.is_some()));
    let (pullback, norm) = map.pullback(sums.as_ref(), wanted.affine);
    let (hidden_raw, hidden_map) = &saved.depthwise;
    let mut hidden_gradient = Buffer::take(out_rows * sizes.hidden);
    let panels = Panels::rows(weights.project, sizes.outputs, sizes.hidden);
    let found = product_gradients(
        out_rows,
        (sizes.hidden, sizes.outputs),
        GradientSource { gradient, pullback: Some(pullback.view(raw, gate)) },
        pending(hidden_raw, hidden_map),
        wanted.weights,
        false,
        Some(InputGradient {
            panels: &panels,
            out: Output::new(&mut hidden_gradient),
            residual: None,
            gate: Some(gate_input(hidden_raw, hidden_map, wanted)),
        }),
    );
    let project = LayerGradients { weight: found.weights, norm };

    // Depthwise.
    let (pullback, norm) = hidden_map.pullback(found.sums.as_ref(), wanted.affine);
    let source =
        GradientSource { gradient: &hidden_gradient, pullback: Some(pullback.view(hidden_raw, None)) };
    let residual = saved.residual.then_some(gradient);
    let mut input = wanted.input.then(|| Fresh::new(rows * sizes.inputs));
    let Some((raw, map)) = &saved.expand else {
        let found = convolve_gradients(
            sizes.geometry(),
            source,
            x,
            None,
            weights.depthwise,
            wanted.weights,
            input.as_mut().map(Fresh::output),
            residual,
        );
        let depthwise = LayerGradients { weight: found.kernel, norm };
        // SAFETY: the depthwise pass wrote every value.
        let input = input.map(|fresh| unsafe { fresh.finish() });
        return Gradients { input, expand: None, depthwise, project };
    };
    let mut expand_gradient = Buffer::take(rows * sizes.hidden);
    let found = convolve_gradients(
        sizes.geometry(),
        source,
        raw,
        Some(gate_input(raw, map, wanted)),
        weights.depthwise,
        wanted.weights,
        Some(Output::new(&mut expand_gradient)),
        None,
    );
    let depthwise = LayerGradients { weight: found.kernel, norm };

    // Expand.
    let (pullback, norm) = map.pullback(found.sums.as_ref(), wanted.affine);
    let mut weight = None;
    if wanted.input || wanted.weights {
        let panels = Panels::rows(expand_weight, sizes.hidden, sizes.inputs);
        let input_gradient = input.as_mut().map(|fresh| InputGradient {
            panels: &panels,
            out: fresh.output(),
            residual,
            gate: None,
        });
        let source = GradientSource { gradient: &expand_gradient, pullback: Some(pullback.view(raw, None)) };
        let shape = (sizes.inputs, sizes.hidden);
        let found =
            product_gradients(rows, shape, source, Source::Plain(x), wanted.weights, false, input_gradient);
        weight = found.weights;
    }
    // SAFETY: the expand pass wrote every value; it ran if the input gradient is wanted.
    let input = input.map(|fresh| unsafe { fresh.finish() });
    let expand = Some(LayerGradients { weight, norm });
    Gradients { input, expand, depthwise, project }
}

fn gate_input<'a>(raw: &'a [f32], map: &'a NormMap, wanted: Wanted) -> GateInput<'a> {
    GateInput {
        raw,
        scale: &map.scale,
        offset: &map.offset,
        mean: &map.mean,
        sums: map.live() || wanted.affine,
    }
}
