//! The kernels against burn's own operations, one operation at a time: a random network amplifies rounding too much to
//! compare more.

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops::{Activation, BatchMoments, NormArgs, Statistics, native, stock};

mod blocks;

/// Seeded values in `low..high`.
struct Values(u64);

impl Values {
    fn tensor<const D: usize>(
        &mut self,
        shape: [usize; D],
        low: f32,
        high: f32,
        device: &Device,
    ) -> Tensor<D> {
        let count = shape.iter().product();
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            values.push(low + (high - low) * ((self.0 >> 40) as f32 / (1u64 << 24) as f32));
        }
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// One operation's tensors: all that can have gradients, in the order of its arguments.
struct Case {
    x: Tensor<4>,
    weights2: Vec<Tensor<2>>,
    weights3: Vec<Tensor<3>>,
    weights4: Vec<Tensor<4>>,
    vectors: Vec<Tensor<1>>,
    norms: Vec<NormArgs>,
}

impl Case {
    fn new(values: &mut Values, shape: [usize; 4], low: f32) -> Self {
        let device = Device::flex().autodiff();
        let x = values.tensor(shape, low, 1.5, &device).require_grad();
        Self { x, weights2: vec![], weights3: vec![], weights4: vec![], vectors: vec![], norms: vec![] }
    }

    fn norm(&mut self, values: &mut Values, channels: usize) {
        let device = Device::flex().autodiff();
        let gamma = values.tensor([channels], 0.6, 2.0, &device).require_grad();
        let beta = values.tensor([channels], -0.5, 3.0, &device).require_grad();
        self.vectors.extend([gamma.clone(), beta.clone()]);
        let mean = values.tensor([channels], -0.3, 0.3, &device);
        let var = values.tensor([channels], 0.3, 1.2, &device);
        self.norms.push(NormArgs { gamma, beta, mean, var });
    }

    fn gradients(&self, output: Tensor<4>) -> Vec<(String, TensorData)> {
        let weights = Values(99).tensor(output.dims(), -1.0, 1.0, &Device::flex().autodiff());
        let grads = (output * weights).sum().backward();
        let mut found = vec![];
        found.extend(self.x.grad(&grads).map(|g| ("input".to_owned(), g.into_data())));
        found.extend(
            self.weights2.iter().filter_map(|w| Some(("1x1 weight".to_owned(), w.grad(&grads)?.into_data()))),
        );
        found.extend(
            self.weights3.iter().filter_map(|w| Some(("kernel".to_owned(), w.grad(&grads)?.into_data()))),
        );
        found.extend(
            self.weights4.iter().filter_map(|w| Some(("4-d tensor".to_owned(), w.grad(&grads)?.into_data()))),
        );
        let vectors = self.vectors.iter().enumerate();
        found.extend(vectors.filter_map(|(i, v)| Some((format!("vector {i}"), v.grad(&grads)?.into_data()))));
        found
    }
}

#[track_caller]
fn close(what: &str, found: &TensorData, expected: &TensorData, tolerance: f32) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let largest = expected.iter::<f32>().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * largest,
            "{what}[{i}]: stock {e}, native {f}, largest {largest}"
        );
    }
}

/// Runs `op` both ways and compares output, moments and every gradient.
#[track_caller]
fn check<const B: usize>(
    what: &str,
    case: &Case,
    ops: [&dyn Fn() -> (Tensor<4>, Vec<BatchMoments>); 2],
    expected_gradients: [usize; B],
) {
    let [(native, native_moments), (stock, stock_moments)] = ops.map(|op| op());
    close(&format!("{what}: output"), &native.to_data(), &stock.to_data(), 2e-5);
    assert_eq!(native_moments.len(), stock_moments.len(), "{what}: moments");
    for (native, stock) in native_moments.iter().zip(&stock_moments) {
        close(&format!("{what}: mean"), &native.mean.to_data(), &stock.mean.to_data(), 1e-5);
        close(&format!("{what}: variance"), &native.var.to_data(), &stock.var.to_data(), 1e-5);
    }
    let (native, stock) = (case.gradients(native), case.gradients(stock));
    assert_eq!([native.len()], [expected_gradients[0]], "{what}: gradients");
    assert_eq!(native.len(), stock.len(), "{what}: gradients");
    for ((name, native), (_, stock)) in native.iter().zip(&stock) {
        close(&format!("{what}: gradient of {name}"), native, stock, 1e-4);
    }
}

#[test]
fn stem_and_pointwise_agree_with_stock() {
    let device = Device::flex().autodiff();
    for statistics in [Statistics::Batch, Statistics::Fixed] {
        let values = &mut Values(5);
        let mut case = Case::new(values, [2, 13, 12, 3], 0.0);
        case.x = case.x.inner().autodiff();
        case.weights4.push(values.tensor([3, 3, 3, 16], -0.5, 0.5, &device).require_grad());
        case.norm(values, 16);
        let single = |(y, moments): (Tensor<4>, BatchMoments)| (y, vec![moments]);
        for activation in [Activation::Relu6, Activation::HardSwish] {
            let arguments = || (case.x.clone(), case.weights4[0].clone(), case.norms[0].clone());
            check(
                &format!("stem with {activation:?}"),
                &case,
                [
                    &|| {
                        let (x, w, n) = arguments();
                        single(native::stem(x, w, n, activation, statistics))
                    },
                    &|| {
                        let (x, w, n) = arguments();
                        single(stock::stem(x, w, n, activation, statistics))
                    },
                ],
                [3],
            );
        }
        for activation in [Activation::Relu6, Activation::Relu, Activation::HardSwish, Activation::None] {
            let mut case = Case::new(values, [2, 5, 6, 24], -1.0);
            case.weights2.push(values.tensor([40, 24], -0.4, 0.4, &device).require_grad());
            case.norm(values, 40);
            let arguments = || (case.x.clone(), case.weights2[0].clone(), case.norms[0].clone());
            check(
                "pointwise",
                &case,
                [
                    &|| {
                        let (x, w, n) = arguments();
                        single(native::pointwise(x, w, n, activation, statistics))
                    },
                    &|| {
                        let (x, w, n) = arguments();
                        single(stock::pointwise(x, w, n, activation, statistics))
                    },
                ],
                [4],
            );
        }
    }
}

#[test]
fn predict_and_upsample_agree_with_stock() {
    let device = Device::flex().autodiff();
    let values = &mut Values(6);
    let mut case = Case::new(values, [2, 3, 4, 32], -1.0);
    case.weights2.push(values.tensor([5, 32], -0.4, 0.4, &device).require_grad());
    case.vectors.push(values.tensor([5], -3.0, 3.0, &device).require_grad());
    let arguments = || (case.x.clone(), case.weights2[0].clone(), case.vectors[0].clone());
    check(
        "predict",
        &case,
        [
            &|| {
                let (x, w, b) = arguments();
                (native::predict(x, w, b), vec![])
            },
            &|| {
                let (x, w, b) = arguments();
                (stock::predict(x, w, b), vec![])
            },
        ],
        [3],
    );
    for large in [[2, 6, 8, 32], [2, 5, 7, 32]] {
        let mut case = Case::new(values, [2, 3, 4, 32], -1.0);
        case.weights4.push(values.tensor(large, -1.0, 1.0, &device).require_grad());
        check(
            "upsample",
            &case,
            [&|| (native::upsample_add(case.x.clone(), case.weights4[0].clone()), vec![]), &|| {
                (stock::upsample_add(case.x.clone(), case.weights4[0].clone()), vec![])
            }],
            [2],
        );
    }
}

#[test]
fn a_frozen_parameter_gets_no_gradient_and_an_image_none() {
    let device = Device::flex().autodiff();
    let values = &mut Values(7);
    let mut case = Case::new(values, [1, 4, 4, 16], -1.0);
    case.x = case.x.inner().autodiff();
    case.weights2.push(values.tensor([8, 16], -0.4, 0.4, &device).require_grad());
    case.norm(values, 8);
    let norm = &case.norms[0];
    let frozen =
        NormArgs { gamma: norm.gamma.clone().detach(), beta: norm.beta.clone().detach(), ..norm.clone() };
    let (y, _) = native::pointwise(
        case.x.clone(),
        case.weights2[0].clone(),
        frozen,
        Activation::Relu6,
        Statistics::Fixed,
    );
    let names: Vec<String> = case.gradients(y).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1x1 weight"]);
}

#[test]
fn a_transposed_input_is_read_in_its_own_order() {
    let device = Device::flex();
    let x = Values(8).tensor([1, 6, 5, 4], -1.0, 1.0, &device);
    let weight = Values(9).tensor([3, 6], -1.0, 1.0, &device);
    let bias = Tensor::zeros([3], &device);
    let turned = x.permute([0, 2, 3, 1]);
    let native = native::predict(turned.clone(), weight.clone(), bias.clone());
    close("turned", &native.to_data(), &stock::predict(turned, weight, bias).to_data(), 1e-5);
}
