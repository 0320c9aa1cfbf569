//! Forward and backward of the ops beside blocks against the reference.

use super::blocks::map;
use super::reference::*;
use super::{BACKWARD, FORWARD, KINK_MARGIN, NormValues, Random, channels, close, everywhere, sized};
use crate::pointwise::Pointwise;
use crate::stem::Stem;
use crate::{Activation, Wanted, pointwise, predict, stem, upsample};

#[test]
fn pointwise_matches_the_reference() {
    for (m, inputs, outputs, activation, live) in [
        (map(2, 5, 4), 16, 32, Activation::Relu6, true),
        (map(1, 7, 3), 24, 7, Activation::None, true),
        (map(1, 7, 3), 9, 50, Activation::Relu6, false),
        (map(4, 1, 1), 3, 16, Activation::None, false),
        (map(2, 30, 21), 40, 80, Activation::Relu6, true),
        (map(2, 9, 7), 16, 40, Activation::Relu, true),
        (map(2, 9, 7), 16, 40, Activation::HardSwish, true),
        (map(1, 7, 3), 9, 50, Activation::HardSwish, false),
    ] {
        let (m, inputs, outputs) = (sized(m), channels(inputs), channels(outputs));
        let (x, w, norm_values, gradient, normed, z) = (0..400)
            .find_map(|seed| {
                let r = &mut Random(seed);
                let x = r.values(m.pixels() * inputs, -1.0, 1.5);
                let w = r.values(outputs * inputs, -0.5, 0.5);
                let p = NormValues::new(r, outputs, live);
                let gradient = r.values(m.pixels() * outputs, -1.0, 1.0);
                let normed = norm(&pointwise(&wide(&x), &wide(&w), inputs, outputs), &p);
                let z = normed.value.clone();
                (margin(&z, activation) > KINK_MARGIN).then_some((x, w, p, gradient, normed, z))
            })
            .expect("a seed away from the kinks");
        let y = activate(&z, activation);
        let g = activate_back(&z, activation, &wide(&gradient));
        let (dy, gamma, beta) = norm_back(&normed, &norm_values, &g);
        let (dx, dw) = pointwise_back(&wide(&x), &wide(&w), &dy, inputs, outputs);
        everywhere(|isa| {
            let at = format!("{m:?} {inputs} to {outputs} on {}", isa.name());
            let op = Pointwise { weight: &w, norm: norm_values.norm(), activation };
            let run = pointwise::forward(m, &x, &op, true).unwrap();
            close(format_args!("output, {at}"), &run.output, &y, FORWARD);
            close(
                format_args!("lean, {at}"),
                &pointwise::forward(m, &x, &op, false).unwrap().output,
                &y,
                FORWARD,
            );
            assert_eq!(run.moments.is_some(), live);
            let found = pointwise::backward(&run.saved.unwrap(), &x, &w, &gradient, Wanted::ALL).unwrap();
            close(format_args!("input gradient, {at}"), &found.input.unwrap(), &dx, BACKWARD);
            close(format_args!("weight gradient, {at}"), &found.weight.unwrap(), &dw, BACKWARD);
            let norm = found.norm.unwrap();
            close(format_args!("gamma gradient, {at}"), &norm.gamma, &gamma, BACKWARD);
            close(format_args!("beta gradient, {at}"), &norm.beta, &beta, BACKWARD);
        });
    }
}

#[test]
fn stem_matches_the_reference() {
    for (m, inputs, outputs, activation, live) in [
        (map(2, 12, 10), 3, 16, Activation::Relu6, true),
        (map(1, 9, 7), 3, 8, Activation::HardSwish, true),
        (map(2, 5, 6), 3, 33, Activation::Relu6, false),
        (map(5, 1, 1), 1, 16, Activation::Relu, false),
        (map(3, 40, 36), 3, 16, Activation::Relu6, true),
    ] {
        let m = sized(m);
        let convolve = |x: &[f64], w: &[f64]| {
            let mut out = vec![0.0; m.strided(2).pixels() * outputs];
            for (o, i, t) in taps(m, 3, 2) {
                for c in 0..inputs {
                    for k in 0..outputs {
                        out[o * outputs + k] += x[i * inputs + c] * w[(t * inputs + c) * outputs + k];
                    }
                }
            }
            out
        };
        let (x, w, p, gradient, normed) = (0..400)
            .find_map(|seed| {
                let r = &mut Random(seed);
                let x = r.values(m.pixels() * inputs, 0.0, 1.0);
                let w = r.values(9 * inputs * outputs, -0.5, 0.5);
                let p = NormValues::new(r, outputs, live);
                let gradient = r.values(m.strided(2).pixels() * outputs, -1.0, 1.0);
                let normed = norm(&convolve(&wide(&x), &wide(&w)), &p);
                (margin(&normed.value, activation) > KINK_MARGIN).then_some((x, w, p, gradient, normed))
            })
            .expect("a seed away from the kinks");
        let (dy, gamma, beta) =
            norm_back(&normed, &p, &activate_back(&normed.value, activation, &wide(&gradient)));
        let mut dw = vec![0.0; w.len()];
        for (o, i, t) in taps(m, 3, 2) {
            for c in 0..inputs {
                for k in 0..outputs {
                    dw[(t * inputs + c) * outputs + k] += f64::from(x[i * inputs + c]) * dy[o * outputs + k];
                }
            }
        }
        everywhere(|isa| {
            let at = format!("{m:?} to {outputs} on {}", isa.name());
            let op = Stem { weight: &w, norm: p.norm(), activation };
            let run = stem::forward(m, &x, &op, true).unwrap();
            close(format_args!("output, {at}"), &run.output, &activate(&normed.value, activation), FORWARD);
            close(
                format_args!("lean, {at}"),
                &stem::forward(m, &x, &op, false).unwrap().output,
                &activate(&normed.value, activation),
                FORWARD,
            );
            let found = stem::backward(&run.saved.unwrap(), &x, &gradient, Wanted::ALL).unwrap();
            close(format_args!("weight gradient, {at}"), &found.weight.unwrap(), &dw, BACKWARD);
            let norm = found.norm.unwrap();
            close(format_args!("gamma gradient, {at}"), &norm.gamma, &gamma, BACKWARD);
            close(format_args!("beta gradient, {at}"), &norm.beta, &beta, BACKWARD);
        });
    }
}

#[test]
fn predict_matches_the_reference() {
    for (m, inputs, outputs) in [(map(2, 5, 4), 32, 4), (map(1, 3, 7), 48, 3), (map(3, 1, 1), 7, 20)] {
        let (inputs, outputs) = (channels(inputs), channels(outputs));
        let r = &mut Random(7);
        let x = r.values(m.pixels() * inputs, -1.0, 1.5);
        let w = r.values(outputs * inputs, -0.5, 0.5);
        let bias = r.values(outputs, -5.0, 5.0);
        let gradient = r.values(m.pixels() * outputs, -1.0, 1.0);
        let mut y = pointwise(&wide(&x), &wide(&w), inputs, outputs);
        y.iter_mut().enumerate().for_each(|(i, y)| *y += f64::from(bias[i % outputs]));
        let (dx, dw) = pointwise_back(&wide(&x), &wide(&w), &wide(&gradient), inputs, outputs);
        let db: Vec<f64> =
            (0..outputs).map(|o| wide(&gradient).iter().skip(o).step_by(outputs).sum()).collect();
        everywhere(|isa| {
            let at = format!("{m:?} {inputs} to {outputs} on {}", isa.name());
            close(format_args!("output, {at}"), &predict::forward(m, &x, &w, &bias).unwrap(), &y, FORWARD);
            let found = predict::backward(m, &x, &w, &gradient, Wanted::ALL).unwrap();
            close(format_args!("input gradient, {at}"), &found.input.unwrap(), &dx, BACKWARD);
            close(format_args!("weight gradient, {at}"), &found.weight.unwrap(), &dw, BACKWARD);
            close(format_args!("bias gradient, {at}"), &found.bias.unwrap(), &db, BACKWARD);
        });
    }
}

#[test]
fn upsample_adds_each_pixel_to_its_copies() {
    for (small, large) in [
        (map(2, 3, 4), map(2, 6, 8)),
        (map(2, 3, 4), map(2, 5, 7)),
        (map(1, 1, 1), map(1, 1, 1)),
        (map(1, 2, 1), map(1, 3, 2)),
    ] {
        for channels in [1, 8, 16, 37] {
            let r = &mut Random(3);
            let values = r.values(small.pixels() * channels, -1.0, 1.0);
            let lateral = r.values(large.pixels() * channels, -1.0, 1.0);
            let mut y = wide(&lateral);
            let mut back = vec![0.0; values.len()];
            for n in 0..large.batch {
                for i in 0..large.height {
                    for j in 0..large.width {
                        for c in 0..channels {
                            let to = ((n * large.height + i) * large.width + j) * channels + c;
                            let from = ((n * small.height + i / 2) * small.width + j / 2) * channels + c;
                            y[to] += f64::from(values[from]);
                            back[from] += f64::from(lateral[to]);
                        }
                    }
                }
            }
            everywhere(|_| {
                close("sum", &upsample::forward(small, &values, large, &lateral).unwrap(), &y, FORWARD);
                close("gradient", &upsample::backward(small, large, &lateral).unwrap(), &back, BACKWARD);
            });
        }
    }
}
