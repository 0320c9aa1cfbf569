//! What holds for every op: same bits twice, skipped gradients, honest errors, safe statistics.

use super::blocks::{BlockCase, PLAIN, Shape, check_block, map};
use super::{NormValues, Random, close, everywhere, property, sized};
use crate::pointwise::Pointwise;
use crate::stem::Stem;
use crate::{
    Activation, EPSILON, Error, Keep, Map, Norm, Statistics, Wanted, block, pointwise, predict, stem,
    unless_interpreted, upsample,
};
use proptest::prelude::*;

/// Enough rows for two threads to share each pass, also under miri.
const SHAPE: Shape = Shape {
    map: Map { batch: 2, height: unless_interpreted(17, 5), width: unless_interpreted(15, 3) },
    inputs: unless_interpreted(16, 9),
    hidden: Some(unless_interpreted(40, 12)),
    outputs: unless_interpreted(16, 9),
    residual: true,
    live: true,
    ..PLAIN
};

#[test]
fn the_same_bits_twice_and_with_the_same_threads() {
    let case = BlockCase::random(SHAPE, 0);
    let run = || {
        let forward = block::forward(SHAPE.map, &case.x, &case.block(), Keep::All).unwrap();
        let saved = forward.saved.unwrap();
        let back = block::backward(&saved, &case.x, &case.weights(), &case.gradient, Wanted::ALL).unwrap();
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let weights = [back.expand.unwrap(), back.depthwise, back.project].map(|l| bits(&l.weight.unwrap()));
        (bits(&forward.output), bits(&back.input.unwrap()), weights, forward.moments)
    };
    for threads in (1..=3).take(unless_interpreted(3, 2)) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (first, second) = pool.install(|| (run(), run()));
        assert!(first == second, "{threads} threads");
    }
}

#[test]
fn a_gradient_not_wanted_is_absent_and_changes_no_other() {
    for live in [true, false] {
        for hidden in [SHAPE.hidden, None] {
            let shape = Shape { live, hidden, ..SHAPE };
            let case = BlockCase::random(shape, 0);
            let run = block::forward(shape.map, &case.x, &case.block(), Keep::All).unwrap();
            let saved = run.saved.unwrap();
            let back =
                |wanted| block::backward(&saved, &case.x, &case.weights(), &case.gradient, wanted).unwrap();
            let all = back(Wanted::ALL);
            for bits in (0..8).step_by(unless_interpreted(1, 3)) {
                let wanted = Wanted { input: bits & 1 > 0, weights: bits & 2 > 0, affine: bits & 4 > 0 };
                let some = back(wanted);
                assert_eq!(some.input, all.input.clone().filter(|_| wanted.input), "{wanted:?}");
                let layers = [(&some.depthwise, &all.depthwise), (&some.project, &all.project)];
                for (some, all) in layers.into_iter().chain(some.expand.as_ref().zip(all.expand.as_ref())) {
                    assert_eq!(some.weight, all.weight.clone().filter(|_| wanted.weights), "{wanted:?}");
                    assert_eq!(some.norm, all.norm.clone().filter(|_| wanted.affine), "{wanted:?}");
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    // Numbers of passes that other tests run: nothing for miri to see.
    if cfg!(miri) {
        return;
    }
    for (kernel, squeeze, live) in [(3, None, true), (5, Some(7), true), (5, Some(7), false)] {
        let swish = Activation::HardSwish;
        let shape = Shape {
            kernel,
            squeeze,
            live,
            activation: swish,
            output_activation: swish,
            map: map(2, 7, 6),
            ..SHAPE
        };
        let (case, _) = BlockCase::new(shape);
        let saved = block::forward(shape.map, &case.x, &case.block(), Keep::All).unwrap().saved.unwrap();
        let back = block::backward(&saved, &case.x, &case.weights(), &case.gradient, Wanted::ALL).unwrap();
        let direction = Random(5).values(case.x.len(), -1.0, 1.0);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let loss = |step: f32| {
            let x: Vec<f32> = case.x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            dot(&block::forward(shape.map, &x, &case.block(), Keep::All).unwrap().output, &case.gradient)
        };
        // Small, for not to step over a kink of the factors.
        let step = 2e-4;
        let expected = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
        let input = back.input.unwrap();
        let (found, size) = (dot(&input, &direction), dot(&input, &input).sqrt());
        assert!((found - expected).abs() <= 5e-3 * size, "{shape:?}: expected {expected}, found {found}");
    }
}

#[test]
fn statistics_survive_a_mean_far_from_zero() {
    let m = sized(map(2, 20, 20));
    let r = &mut Random(1);
    let x: Vec<f32> = r.values(m.pixels() * 2, -1.0, 1.0).iter().map(|v| 1000.0 + v).collect();
    let weight = [1.0, 0.0, 0.0, 1.0];
    let params = NormValues::new(r, 2, true);
    let mut var = [0.0; 2];
    for (c, var) in var.iter_mut().enumerate() {
        let values = || x.iter().skip(c).step_by(2).map(|v| f64::from(*v));
        let mean = values().sum::<f64>() / m.pixels() as f64;
        *var = values().map(|v| (v - mean).powi(2)).sum::<f64>() / m.pixels() as f64;
    }
    everywhere(|_| {
        let op = Pointwise { weight: &weight, norm: params.norm(), activation: Activation::None };
        let found = pointwise::forward(m, &x, &op, false).unwrap().moments.unwrap();
        close("variance", &found.var, &var, 1e-4);
    });
}

#[test]
fn a_single_row_has_zero_variance_and_finite_results() {
    let shape = Shape { map: map(1, 1, 1), residual: false, ..SHAPE };
    let case = BlockCase::random(shape, 0);
    let run = block::forward(shape.map, &case.x, &case.block(), Keep::All).unwrap();
    assert!(run.moments.iter().all(|m| m.var.iter().all(|v| *v == 0.0)));
    let saved = run.saved.unwrap();
    let back = block::backward(&saved, &case.x, &case.weights(), &case.gradient, Wanted::ALL).unwrap();
    assert!(back.input.unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn nan_stays_visible() {
    let mut x = vec![0.5; 9 * 4];
    x[7] = f32::NAN;
    let norm = Norm {
        gamma: &[1.0; 4],
        beta: &[0.0; 4],
        statistics: Statistics::Fixed { mean: &[0.0; 4], var: &[1.0; 4] },
        epsilon: EPSILON,
    };
    everywhere(|isa| {
        let op = Pointwise { weight: &[0.25; 16], norm, activation: Activation::Relu6 };
        let output = pointwise::forward(map(1, 3, 3), &x, &op, false).unwrap().output;
        assert!(output[4..8].iter().all(|v| v.is_nan()), "{}", isa.name());
        assert!(output[8..].iter().all(|v| v.is_finite()));
    });
}

#[test]
fn denormals_count_as_zero_and_only_within_an_op() {
    let norm = Norm {
        gamma: &[1.0; 4],
        beta: &[0.0; 4],
        statistics: Statistics::Fixed { mean: &[0.0; 4], var: &[0.0; 4] },
        epsilon: 1e-20,
    };
    let before = crate::denormal::control();
    everywhere(|isa| {
        // 1e-20 * 1e-20 is denormal, and would be 1e-30 after a division by 1e-10.
        let op = Pointwise { weight: &[1e-20; 16], norm, activation: Activation::None };
        let output = pointwise::forward(map(1, 3, 3), &[1e-20; 36], &op, false).unwrap().output;
        if !cfg!(miri) {
            assert!(output.iter().all(|v| *v == 0.0), "{}: {output:?}", isa.name());
        }
    });
    assert_eq!(crate::denormal::control() & !0x3f, before & !0x3f, "the flags are as they were");
    let denormal = std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
    assert!(denormal > 0.0);
}

#[test]
fn bad_arguments_are_refused() {
    let norm = Norm { gamma: &[1.0; 4], beta: &[0.0; 4], statistics: Statistics::Batch, epsilon: EPSILON };
    let pointwise = |m: Map, x: &[f32], weight: &[f32]| {
        pointwise::forward(m, x, &Pointwise { weight, norm, activation: Activation::Relu6 }, false)
            .unwrap_err()
    };
    let empty = |tensor, dimension| Error::Empty { tensor, dimension };
    assert_eq!(pointwise(map(0, 3, 3), &[], &[0.0; 16]), empty("pointwise input", "batch"));
    assert_eq!(pointwise(map(1, 3, 3), &[], &[0.0; 16]), empty("pointwise input", "channels"));
    let length = |tensor, expected, found| Error::Length { tensor, expected, found };
    assert_eq!(pointwise(map(1, 3, 3), &[0.0; 36], &[0.0; 15]), length("pointwise weight", 16, 15));
    assert_eq!(pointwise(map(1, 3, 3), &[0.0; 35], &[0.0; 12]), length("pointwise input", 27, 35));
    let huge = map(usize::MAX / 2, 9, 9);
    let weight = [0.0; 108];
    let stem =
        stem::forward(huge, &[0.0], &Stem { weight: &weight, norm, activation: Activation::Relu6 }, false)
            .unwrap_err();
    assert_eq!(stem, Error::TooLarge { tensor: "stem input" });
    assert_eq!(
        predict::forward(map(1, 1, 1), &[0.0; 3], &[0.0; 7], &[0.0; 2]).unwrap_err(),
        length("predict weight", 6, 7)
    );
    assert_eq!(
        upsample::forward(map(1, 2, 2), &[0.0; 8], map(1, 5, 4), &[0.0; 40]).unwrap_err(),
        Error::Ratio { side: "height", small: 2, large: 5 }
    );
    let case = BlockCase::random(SHAPE, 0);
    let odd = block::Block { stride: 3, ..case.block() };
    let refused = |b: &block::Block<'_>| block::forward(SHAPE.map, &case.x, b, Keep::Nothing).unwrap_err();
    assert_eq!(refused(&odd), Error::Stride { found: 3 });
    let odd = block::Block { kernel: 4, ..case.block() };
    assert_eq!(refused(&odd), Error::Kernel { found: 4 });
    let strided = block::Block { stride: 2, ..case.block() };
    assert_eq!(
        refused(&strided),
        Error::Residual { stride: 2, inputs: SHAPE.inputs, outputs: SHAPE.outputs }
    );
    let saved = block::forward(SHAPE.map, &case.x, &case.block(), Keep::All).unwrap().saved.unwrap();
    let short = block::backward(&saved, &case.x[1..], &case.weights(), &case.gradient, Wanted::ALL);
    assert_eq!(short.unwrap_err(), length("block input", case.x.len(), case.x.len() - 1));
}

pub(super) fn any_activation() -> impl Strategy<Value = Activation> {
    use Activation::{HardSwish, None, Relu, Relu6};
    prop::sample::select(&[None, Relu, Relu6, HardSwish][..])
}

/// Everything but sizes.
pub(super) fn any_form() -> impl Strategy<Value = Shape> {
    let squeeze = prop::option::of(1usize..20);
    let kernel = prop::sample::select(&[3, 5][..]);
    (kernel, 1usize..3, any_activation(), any_activation(), squeeze).prop_map(
        |(kernel, stride, activation, output_activation, squeeze)| Shape {
            kernel,
            stride,
            activation,
            output_activation,
            squeeze,
            ..PLAIN
        },
    )
}

proptest! {
    #![proptest_config(property(48, 1))]

    #[test]
    fn any_block_matches_the_reference(
        (batch, height, width) in (1usize..4, 1usize..9, 1usize..9),
        inputs in 1usize..36,
        hidden in prop::option::of(1usize..52),
        outputs in 1usize..36,
        form in any_form(),
        residual: bool,
        live: bool,
    ) {
        let map = Map { batch, height, width };
        let stride = form.stride;
        let residual = residual && stride == 1;
        let outputs = if residual { inputs } else { outputs };
        // A norm over a few values, after a kernel that is a mere scale, or of what another norm and nothing curved scaled
        // before has gradients that are differences of rounding errors.
        let rows = batch * height.div_ceil(stride) * width.div_ceil(stride);
        let live = live && rows >= 6 && height * width >= 4 && form.activation != Activation::None;
        check_block(Shape { map, inputs, hidden, outputs, residual, live, ..form }.sized());
    }
}
