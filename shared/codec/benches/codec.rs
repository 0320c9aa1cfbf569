//! Sizes and speeds of the codecs on a model of 4.3 M values, one core.
//!
//! `cargo bench -p codec` prints `figure codec/CODEC@DENSITY/DIST/QUANTITY VALUE UNIT`. Bytes are whole messages with header
//! and checksum; over_entropy compares them with mask entropy plus the entropy of the levels sent; encode counts dense f32
//! bytes in, residual included; decode_add counts entries decoded and added to the exact sum.
//! `--test`, and any test run, takes a tiny model once.
#![expect(clippy::print_stdout, reason = "figures go to standard output")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::account::{Account, entropy};
use codec::residual::{Feedback, Lineage, Residual};
use codec::snapshot::{decode_snapshot, encode_snapshot};
use codec::{Codec, Settings, build, decode_update};
use params::{Accumulator, Canonical, Layout, Scope, TensorSpec};

const CODECS: [(&str, u8); 3] = [("default3", 3), ("default2", 2), ("ternary", 1)];
const DENSITIES: [(&str, f32); 2] = [("1%", 0.01), ("0.1%", 0.001)];
type Draw = fn(&mut Random) -> f64;
const DISTRIBUTIONS: [(&str, Draw); 3] =
    [("laplace", Random::laplace), ("gauss", Random::gauss), ("heavy", Random::pareto)];

fn main() {
    // Cargo says `--bench` to benchmarks, and nothing to tests.
    let argument = |name: &str| std::env::args().any(|argument| argument == name);
    let tiny = argument("--test") || !argument("--bench");
    let layout = Arc::new(if tiny { layout(4, 100_000) } else { layout(17, 4_300_000) });
    copy(layout.len());
    for (distribution, draw) in DISTRIBUTIONS {
        let mut random = Random(7);
        let values: Vec<f32> = (0..layout.len()).map(|_| 1e-3 * draw(&mut random) as f32).collect();
        for (codec, bits) in CODECS {
            for (density, share) in DENSITIES {
                let name = format!("codec/{codec}@{density}/{distribution}");
                let settings =
                    Settings { density: share, floor: share / 10.0, value_bits: bits, ..Settings::default() };
                update(&name, &layout, &values, &settings, tiny);
            }
        }
        if distribution == "laplace" {
            snapshot(&layout, &values, tiny);
        }
    }
}

/// What one pass over the values costs, to compare the others with.
fn copy(len: usize) {
    let (from, mut to) = (vec![1.0_f32; len], vec![0.0_f32; len]);
    let once = fastest(vec![(); 9], |()| to.copy_from_slice(&from));
    println!("figure codec/copy {:.2} GB/s", 4e-9 * len as f64 / once.as_secs_f64());
}

fn update(name: &str, layout: &Arc<Layout>, values: &[f32], settings: &Settings, tiny: bool) {
    let codec = build("sparse", settings).unwrap();
    let residual = Residual::new(Lineage { run: 1, layout: layout.digest() });
    let feedback = Feedback { decay: 0.9, guard: None };
    let residual = residual.prepare(&*codec, layout, values.to_vec(), feedback).unwrap().commit();
    let deltas = vec![values.to_vec(); if tiny { 1 } else { 9 }];
    let encode = fastest(deltas, |delta| residual.prepare(&*codec, layout, delta, feedback).unwrap());

    let encoded = codec.encode(layout, values).unwrap();
    let (entries, bytes) = (encoded.entries.len(), encoded.payload.len());
    let account = Account { values: values.len(), entries, bytes };
    let limit = account.mask_bits_per_entry() + level_entropy(&*codec, values);
    println!("figure {name}/bytes {bytes} B");
    println!("figure {name}/ratio {:.1} x", account.ratio());
    println!("figure {name}/over_entropy {:.4} x", account.bits_per_entry() / limit);
    println!("figure {name}/encode {:.2} GB/s", 4e-9 * values.len() as f64 / encode.as_secs_f64());

    let mut sum = Accumulator::new(
        Arc::clone(layout),
        Canonical::from_values(Arc::clone(layout), values).unwrap().grid(),
    );
    let decode_add = fastest(vec![(); if tiny { 1 } else { 20 }], |()| {
        let decoded = decode_update(layout, entries, &encoded.payload).unwrap();
        sum.add(&decoded, 1).unwrap();
    });
    println!("figure {name}/decode_add {:.1} M/s", 1e-6 * entries as f64 / decode_add.as_secs_f64());
}

/// Entropy of sign and level in bits. As one tensor the values have one set of levels, so that they can be counted.
fn level_entropy(codec: &dyn Codec, values: &[f32]) -> f64 {
    let spec = TensorSpec { name: "all".into(), shape: vec![values.len()], scope: Scope::Shared };
    let mut levels = BTreeMap::new();
    for (_, value) in codec.encode(&Layout::new(vec![spec]).unwrap(), values).unwrap().entries {
        *levels.entry(value.to_bits()).or_insert(0_u64) += 1;
    }
    entropy(&levels.into_values().collect::<Vec<_>>())
}

fn snapshot(layout: &Arc<Layout>, values: &[f32], tiny: bool) {
    let model = Canonical::from_values(Arc::clone(layout), values).unwrap();
    let bytes = encode_snapshot(&model, &[]);
    let runs = if tiny { 1 } else { 5 };
    let encode = fastest(vec![(); runs], |()| encode_snapshot(&model, &[]));
    let decode = fastest(vec![(); runs], |()| decode_snapshot(layout, 0, &bytes).unwrap());
    let dense = 4 * values.len();
    println!("figure codec/snapshot/bytes {} B", bytes.len());
    println!("figure codec/snapshot/ratio {:.2} x", dense as f64 / bytes.len() as f64);
    println!("figure codec/snapshot/encode {:.2} GB/s", 1e-9 * dense as f64 / encode.as_secs_f64());
    println!("figure codec/snapshot/decode {:.2} GB/s", 1e-9 * dense as f64 / decode.as_secs_f64());
}

fn fastest<I, O>(inputs: Vec<I>, mut run: impl FnMut(I) -> O) -> Duration {
    let mut time = |input| {
        let start = Instant::now();
        let output = run(input);
        let elapsed = start.elapsed();
        drop(output);
        elapsed
    };
    inputs.into_iter().map(&mut time).min().unwrap()
}

/// Inverted residual blocks in the proportions of MobileNetV2, and a last tensor that makes up `len` values.
fn layout(blocks: usize, len: usize) -> Layout {
    let mut specs = Vec::new();
    let mut total = 0;
    let mut push = |name: String, len: usize| {
        total += len;
        specs.push(TensorSpec { name, shape: vec![len], scope: Scope::Shared });
        total
    };
    for block in 0..blocks {
        let channels = 16 + 9 * block;
        let wide = 6 * channels;
        for (part, len, outputs) in [
            ("expand", channels * wide, wide),
            ("depthwise", 9 * wide, wide),
            ("project", wide * channels, channels),
        ] {
            push(format!("{block}.{part}.weight"), len);
            push(format!("{block}.{part}.gamma"), outputs);
            push(format!("{block}.{part}.beta"), outputs);
        }
    }
    let so_far = push("stem".into(), 864);
    push("last".into(), len - so_far);
    Layout::new(specs).unwrap()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::from(-54).exp2()
    }

    fn signed(&mut self, magnitude: f64) -> f64 {
        if self.uniform() < 0.5 { -magnitude } else { magnitude }
    }

    fn laplace(&mut self) -> f64 {
        let magnitude = -self.uniform().ln();
        self.signed(magnitude)
    }

    fn gauss(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Tail index 3.
    fn pareto(&mut self) -> f64 {
        let magnitude = self.uniform().powf(-1.0 / 3.0);
        self.signed(magnitude)
    }
}
