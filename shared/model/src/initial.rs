//! Weights to start from when nothing better is at hand.

use protocol::randomness::{Purpose, stream};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::architecture::{Architecture, Role};

/// Score a class layer gives everything at first. Without it, the first steps are spent on unlearning thousands of
/// background locations (Lin et al. 2017).
const PRIOR: f64 = 0.01;
/// Deviation of output weights.
const OUTPUT_STD: f64 = 0.01;
/// Logit of the four distances at first: boxes of 2.6 strides a side.
const BOX_BIAS: f64 = 1.0;

/// Random weights of all scopes in layout order, the same for the same seed: convolutions by He et al. (2015) over their
/// outputs, batch norms as the identity, output layers near zero with class scores of 0.01. The personal class layer equals
/// the shared one.
///
/// Over outputs, a depthwise filter starts small. Batch norm takes the size out of the result, but not out of learning: to an
/// optimiser with steps of a given size, small weights are weights that turn quickly.
pub fn initial(architecture: &Architecture, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, None, None, Purpose::Initial);
    let mut values = Vec::with_capacity(architecture.layout.len());
    for (tensor, role) in architecture.layout.tensors().iter().zip(&architecture.roles) {
        let mut fill = |value: &mut dyn FnMut() -> f64| {
            values.extend(std::iter::repeat_with(|| value() as f32).take(tensor.len));
        };
        match *role {
            Role::Convolution { fan_out } => {
                let std = (2.0 / fan_out as f64).sqrt();
                fill(&mut || std * normal(&mut rng));
            }
            Role::Output => fill(&mut || OUTPUT_STD * normal(&mut rng)),
            Role::Scale | Role::Variance => fill(&mut || 1.0),
            Role::Shift | Role::Mean | Role::Bias => fill(&mut || 0.0),
            Role::ClassBias => fill(&mut || (PRIOR / (1.0 - PRIOR)).ln()),
            Role::BoxBias => fill(&mut || BOX_BIAS),
        }
    }
    adopt_class_layer(architecture, &mut values);
    values
}

/// Starts the personal class layer from the shared one: what a device does when it joins a run.
pub fn adopt_class_layer(architecture: &Architecture, values: &mut [f32]) {
    let (shared, personal) = (architecture.head.class, architecture.head.personal);
    let tensors = architecture.layout.tensors();
    for (from, to) in [(shared.weight, personal.weight), (shared.bias, personal.bias)] {
        values.copy_within(tensors[from].range(), tensors[to].offset);
    }
}

/// Standard normal (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius: f64 = 1.0 - rng.random::<f64>();
    let angle = std::f64::consts::TAU * rng.random::<f64>();
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    #[test]
    fn same_seed_same_weights_and_every_role_as_promised() {
        let classes = ["cat", "dog"].map(String::from);
        let architecture = Architecture::with_classes(Preset::parse("nano96").unwrap(), &classes).unwrap();
        let values = initial(&architecture, 7);
        assert_eq!(values.len(), architecture.layout().len());
        assert_eq!(values, initial(&architecture, 7));
        assert_ne!(values, initial(&architecture, 8));
        let of = |name: &str| &values[architecture.layout().find(name).unwrap().range()];
        assert!(of("backbone.0.gamma").iter().chain(of("backbone.0.var")).all(|&value| value == 1.0));
        assert!(of("head.class.bias").iter().all(|&value| (value + 99_f32.ln()).abs() < 1e-6));
        assert_eq!(of("head.class.weight"), of("personal.head.class.weight"));
        let wide = of("backbone.13.project.weight");
        let deviation = (wide.iter().map(|value| value * value).sum::<f32>() / wide.len() as f32).sqrt();
        let expected = (2.0_f32 / 32.0).sqrt();
        assert!((deviation / expected - 1.0).abs() < 0.05, "{deviation} {expected}");
    }
}
