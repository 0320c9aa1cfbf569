//! A plan computes what the training ops compute with fixed statistics.

use super::blocks::{BlockCase, PLAIN, Shape, map};
use super::laws::any_form;
use super::{NormValues, Random, close, everywhere, property, sized};
use crate::block::{self, Block};
use crate::plan::PlanBuilder;
use crate::pointwise::Pointwise;
use crate::stem::Stem;
use crate::{Activation, Error, Keep, Map, pointwise, predict, stem, unless_interpreted, upsample};
use proptest::prelude::*;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn check_block(shape: Shape, plus: bool) {
    let shape = shape.sized();
    let case = BlockCase::random(shape, 0);
    let forward = block::forward(shape.map, &case.x, &case.block(), Keep::All).unwrap().output;
    let expected: Vec<f64> = wide(&forward).iter().map(|v| if plus { 2.0 * v } else { *v }).collect();
    everywhere(|isa| {
        let mut found = Vec::new();
        for threads in [1, 2, 5].into_iter().take(unless_interpreted(3, 2)) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            found.push(pool.install(|| {
                crate::with_isa(isa, || {
                    let mut b = PlanBuilder::new(shape.inputs).unwrap();
                    let first = b.block(b.input(), &case.block(), None).unwrap();
                    let last =
                        if plus { b.block(b.input(), &case.block(), Some(first)).unwrap() } else { first };
                    b.finish(&[last]).run(shape.map, &case.x).unwrap().swap_remove(0)
                })
            }));
        }
        close(format_args!("{shape:?} in {}", isa.name()), &found[0], &expected, 1e-5);
        assert!(found.iter().all(|other| *other == found[0]), "threads change nothing");
    });
}

#[test]
fn a_fused_block_matches_the_training_op() {
    let shape = |map: Map, inputs, hidden: Option<usize>, outputs, stride| {
        let residual = stride == 1 && inputs == outputs;
        let output_activation = if hidden.is_none() { Activation::Relu6 } else { Activation::None };
        Shape { map, inputs, hidden, outputs, stride, output_activation, residual, live: false, ..PLAIN }
    };
    // Whole images in groups, stripes, several stripes of one image, tails, no expansion.
    check_block(shape(map(7, 3, 3), 16, Some(96), 16, 1), false);
    check_block(shape(map(1, 24, 40), 16, Some(208), 24, 1), false);
    check_block(shape(map(3, 33, 31), 8, Some(144), 20, 2), false);
    check_block(shape(map(2, 15, 17), 24, None, 24, 1), false);
    check_block(shape(map(1, 1, 1), 3, Some(5), 7, 2), false);
    // As in MobileNetV3.
    let modern = |map, inputs, hidden, outputs, stride, squeeze| Shape {
        kernel: 5,
        activation: Activation::HardSwish,
        squeeze,
        ..shape(map, inputs, hidden, outputs, stride)
    };
    check_block(modern(map(7, 3, 3), 16, Some(96), 16, 1, Some(24)), false);
    check_block(modern(map(1, 24, 40), 16, Some(208), 24, 1, None), false);
    check_block(modern(map(3, 33, 31), 8, Some(72), 20, 2, Some(7)), false);
    check_block(modern(map(1, 1, 1), 3, Some(5), 7, 2, Some(1)), false);
}

proptest! {
    #![proptest_config(property(24, 2))]

    #[test]
    fn any_fused_block_matches_the_training_op(
        (batch, height, width) in (1usize..5, 1usize..14, 1usize..14),
        inputs in 1usize..36,
        hidden in prop::option::of(1usize..52),
        outputs in 1usize..36,
        form in any_form(),
        plus: bool,
    ) {
        let map = Map { batch, height, width };
        check_block(Shape { map, inputs, hidden, outputs, ..form }, plus);
    }
}

#[test]
fn a_network_matches_its_ops() {
    let r = &mut Random(3);
    let m = sized(map(2, 21, 19));
    let small = m.strided(2);
    let image = r.values(m.pixels() * 3, -1.0, 1.0);
    let (stem_weight, stem_norm) = (r.values(27 * 24, -0.3, 0.3), NormValues::new(r, 24, false));
    let (lateral_weight, lateral_norm) = (r.values(24 * 20, -0.3, 0.3), NormValues::new(r, 20, false));
    let (weight, bias) = (r.values(9 * 20, -0.3, 0.3), r.values(9, -1.0, 1.0));
    let stem_op = Stem { weight: &stem_weight, norm: stem_norm.norm(), activation: Activation::HardSwish };
    let lateral =
        Pointwise { weight: &lateral_weight, norm: lateral_norm.norm(), activation: Activation::None };
    let shape = Shape {
        map: small,
        inputs: 20,
        hidden: None,
        outputs: 20,
        stride: 2,
        output_activation: Activation::Relu6,
        ..PLAIN
    };
    let case = BlockCase::random(shape, 0);
    everywhere(|_| {
        let a = stem::forward(m, &image, &stem_op, false).unwrap().output;
        let a = pointwise::forward(small, &a, &lateral, false).unwrap().output;
        let b = block::forward(small, &a, &case.block(), Keep::All).unwrap().output;
        let sum = upsample::forward(small.strided(2), &b, small, &a).unwrap();
        let expected = predict::forward(small, &sum, &weight, &bias).unwrap();

        let mut builder = PlanBuilder::new(3).unwrap();
        let a = builder.stem(builder.input(), &stem_op).unwrap();
        let a = builder.pointwise(a, &lateral).unwrap();
        let b = builder.block(a, &case.block(), None).unwrap();
        let sum = builder.upsample_add(b, a).unwrap();
        let last = builder.predict(sum, &weight, &bias).unwrap();
        let plan = builder.finish(&[last, a]);
        let found = plan.run(m, &image).unwrap();
        close("network", &found[0], &wide(&expected), 1e-5);
        assert_eq!(found[1].len(), small.pixels() * 20);
        assert_eq!(found, plan.run(m, &image).unwrap(), "a plan runs many times");
    });
}

#[test]
fn a_stem_within_its_block_changes_nothing() {
    let r = &mut Random(4);
    let (weight, norm) = (r.values(27 * 20, -0.3, 0.3), NormValues::new(r, 20, false));
    let op = Stem { weight: &weight, norm: norm.norm(), activation: Activation::Relu6 };
    for (m, stride) in [(map(3, 21, 19), 1), (map(1, 140, 150), 1), (map(2, 2, 1), 2)] {
        let m = sized(m);
        let image = r.values(m.pixels() * 3, -1.0, 1.0);
        let shape = Shape { map: map(1, 5, 5), inputs: 20, hidden: None, outputs: 12, stride, ..PLAIN };
        let case = BlockCase::random(shape, 0);
        everywhere(|_| {
            let stem = stem::forward(m, &image, &op, false).unwrap().output;
            let expected = block::forward(m.strided(2), &stem, &case.block(), Keep::All).unwrap().output;
            let run = |seen: bool| {
                let mut builder = PlanBuilder::new(3).unwrap();
                let first = builder.stem(builder.input(), &op).unwrap();
                let last = builder.block(first, &case.block(), None).unwrap();
                let outputs = if seen { vec![last, first] } else { vec![last] };
                builder.finish(&outputs).run(m, &image).unwrap()
            };
            let within = run(false);
            close("stem within", &within[0], &wide(&expected), 1e-5);
            let apart = run(true);
            assert_eq!(apart[0], within[0]);
            close("stem", &apart[1], &wide(&stem), 1e-5);
        });
    }
}

#[test]
fn what_does_not_fit_a_plan_is_refused() {
    let case = BlockCase::random(
        Shape { map: map(1, 4, 4), inputs: 8, hidden: Some(16), outputs: 8, residual: true, ..PLAIN },
        0,
    );
    let mut b = PlanBuilder::new(8).unwrap();
    let length = |tensor, expected, found| Error::Length { tensor, expected, found };
    let strided = Block { stride: 2, ..case.block() };
    let refused = b.block(b.input(), &strided, None).unwrap_err();
    assert_eq!(refused, Error::Residual { stride: 2, inputs: 8, outputs: 8 });
    let live = case.live();
    let refused = b.block(b.input(), &live.block(), None).unwrap_err();
    assert_eq!(refused, Error::BatchStatistics { op: "expand weight" });
    let refused = b.predict(b.input(), &[0.0; 7], &[0.0]).unwrap_err();
    assert_eq!(refused, length("predict weight", 8, 7));
    let plan = b.finish(&[]);
    assert_eq!(
        plan.run(map(0, 4, 4), &[]).unwrap_err(),
        Error::Empty { tensor: "images", dimension: "batch" }
    );
    assert_eq!(plan.run(map(1, 4, 4), &[0.0; 3]).unwrap_err(), length("images", 128, 3));
    assert_eq!(
        PlanBuilder::new(0).unwrap_err(),
        Error::Empty { tensor: "plan input", dimension: "channels" }
    );
}
