//! Sizes and speeds of the codecs on a model of 4.3 M values, one core.
//!
//! `cargo bench -p codec` prints `figure codec/CODEC@DENSITY/DIST/QUANTITY VALUE UNIT`. Bytes are whole messages with header
//! and checksum; over_entropy compares them with mask entropy plus the entropy of the values sent, over_tensor_entropy with the
//! mask entropy when the density of each tensor is known; encode counts dense f32 bytes in, residual included; decode_add counts
//! entries decoded and added to the exact sum.
//!
//! DIST `real` is testdata/update.bin: what one device's training changed in one round (the preset nano96), the first 1024
//! values of each tensor in 8 bits (blocks of 32). Each tensor is made as long as it was, times eight, by repetition.
//! `-- --real FILE [LENGTHS]` takes raw f32 instead, LENGTHS being a file with the tensors' lengths. Other arguments choose by
//! parts of names. `--test`, and any test run, takes a tiny model once.
#![expect(clippy::print_stdout, reason = "figures go to standard output")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::account::{Account, entropy};
use codec::residual::{Feedback, Lineage, Residual};
use codec::snapshot::{decode_snapshot, encode_snapshot};
use codec::statistics::StatisticsLayout;
use codec::{Settings, build, decode_update};
use half::bf16;
use params::{Accumulator, Canonical, Layout, Scope, TensorSpec};

/// Name in figures, codec, bits a value.
const CODECS: [(&str, &str, u8); 7] = [
    ("default3", "sparse", 3),
    ("default2", "sparse", 2),
    ("ternary", "ternary", 1),
    ("public4", "public", 4),
    ("int8", "int8", 8),
    ("rotated1", "rotated", 1),
    ("rotated4", "rotated", 4),
];
const DENSITIES: [(&str, f32); 2] = [("1%", 0.01), ("0.1%", 0.001)];
type Draw = fn(&mut Random) -> f64;
const DISTRIBUTIONS: [(&str, Draw); 3] =
    [("laplace", Random::laplace), ("gauss", Random::gauss), ("heavy", Random::pareto)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says `--bench` to benchmarks, and nothing to tests.
    let argument = |name: &str| arguments.iter().position(|argument| argument == name);
    let tiny = argument("--test").is_some() || argument("--bench").is_none();
    let mut files = argument("--real").map(|at| arguments[at + 1..].iter());
    let file = files.as_mut().and_then(Iterator::next);
    let lengths = files.as_mut().and_then(Iterator::next);
    let given = |argument: &&String| Some(*argument) == file || Some(*argument) == lengths;
    let filters: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-') && !given(argument)).collect();
    let chosen = |name: &str| filters.iter().all(|filter| name.contains(filter.as_str()));

    let model = Arc::new(if tiny { layout(4, 100_000) } else { layout(17, 4_300_000) });
    copy(model.len());
    let mut inputs: Vec<(&str, Arc<Layout>, Vec<f32>)> = Vec::new();
    for (distribution, draw) in DISTRIBUTIONS {
        let mut random = Random(7);
        let values = (0..model.len()).map(|_| 1e-3 * draw(&mut random) as f32).collect();
        inputs.push((distribution, Arc::clone(&model), values));
    }
    let (layout, values) = match file {
        Some(file) => given_update(file, lengths),
        None => captured(if tiny { 1 } else { 8 }),
    };
    inputs.push(("real", Arc::new(layout), values));

    for (distribution, layout, values) in &inputs {
        for (name, codec, bits) in CODECS {
            for (density, share) in DENSITIES {
                let dense = ["int8", "rotated"].contains(&codec);
                let density = if dense { "100%" } else { density };
                let name = format!("codec/{name}@{density}/{distribution}");
                if chosen(&name) && !(dense && share < 0.01) {
                    let value_bits = bits;
                    let settings =
                        Settings { density: share, floor: share / 10.0, value_bits, ..Settings::default() };
                    update(&name, layout, values, codec, &settings, tiny);
                }
            }
        }
    }
    if chosen("codec/snapshot") {
        snapshot(&inputs[0].1, &inputs[0].2, tiny);
    }
}

/// Raw f32, and the lengths of the tensors or one for all.
fn given_update(file: &str, lengths: Option<&String>) -> (Layout, Vec<f32>) {
    let bytes = std::fs::read(file).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let lengths = lengths.map_or_else(
        || vec![values.len()],
        |file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.split_whitespace().map(|length| length.parse().unwrap()).collect()
        },
    );
    (of_lengths(&lengths), values)
}

/// The captured update: number of tensors (u16), their lengths (u32), then for each 32 of at most 1024 values of a tensor a step
/// (bf16) and multiples of it (i8). Every tensor is made `times` as long as it was.
fn captured(times: usize) -> (Layout, Vec<f32>) {
    let mut bytes: &[u8] = include_bytes!("../testdata/update.bin");
    let mut take = |len: usize| bytes.split_off(..len).unwrap();
    let count = u16::from_le_bytes(take(2).try_into().unwrap());
    let lengths: Vec<usize> =
        (0..count).map(|_| u32::from_le_bytes(take(4).try_into().unwrap()) as usize).collect();
    let mut values = Vec::new();
    for &length in &lengths {
        let mut sample = Vec::new();
        while sample.len() < length.min(1024) {
            let step = bf16::from_le_bytes(take(2).try_into().unwrap()).to_f32();
            let block = take(32.min(length - sample.len()));
            sample.extend(block.iter().map(|&multiple| f32::from(multiple as i8) * step));
        }
        values.extend(sample.iter().cycle().take(times * length));
    }
    let lengths: Vec<usize> = lengths.iter().map(|length| times * length).collect();
    (of_lengths(&lengths), values)
}

fn of_lengths(lengths: &[usize]) -> Layout {
    let spec = |(number, &len): (usize, &usize)| TensorSpec {
        name: number.to_string(),
        shape: vec![len],
        scope: Scope::Shared,
    };
    Layout::new(lengths.iter().enumerate().map(spec).collect()).unwrap()
}

/// What one pass over the values costs, to compare the others with.
fn copy(len: usize) {
    let (from, mut to) = (vec![1.0_f32; len], vec![0.0_f32; len]);
    let once = fastest(std::iter::repeat_n((), 9), |()| to.copy_from_slice(&from));
    println!("figure codec/copy {:.2} GB/s", 4e-9 * len as f64 / once.as_secs_f64());
}

fn update(
    name: &str,
    layout: &Arc<Layout>,
    values: &[f32],
    codec_name: &str,
    settings: &Settings,
    tiny: bool,
) {
    let codec = build(codec_name, settings).unwrap();
    let residual = Residual::new(Lineage { run: 1, layout: layout.digest() });
    // As devices do it by default.
    let feedback = Feedback { decay: 0.9, guard: None };
    let residual = residual.prepare(&*codec, layout, values.to_vec(), feedback).unwrap().commit();
    let deltas = (0..if tiny { 1 } else { 25 }).map(|_| values.to_vec());
    let encode = fastest(deltas, |delta| residual.prepare(&*codec, layout, delta, feedback).unwrap());

    let encoded = codec.encode(layout, values).unwrap();
    let (entries, bytes) = (encoded.entries.len(), encoded.payload.len());
    let account = Account::of(layout, &encoded.entries, bytes);
    // Values of one class are told apart by their level alone.
    let whole = of_lengths(&[layout.len()]);
    let encoded_whole = codec.encode(&whole, values).unwrap();
    let value_entropy = Account::of(&whole, &encoded_whole.entries, bytes).value_entropy;
    let account = Account { value_entropy, ..account };
    println!("figure {name}/bytes {bytes} B");
    println!("figure {name}/ratio {:.1} x", account.ratio());
    if codec_name == "public" {
        // Its places are known, and multiples of the steps of runs are what it has to say.
        let (count, entropy) = multiples(&encoded.payload);
        println!("figure {name}/over_entropy {:.4} x", 8.0 * bytes as f64 / (count as f64 * entropy));
    } else if ["sparse", "ternary"].contains(&codec_name) {
        println!("figure {name}/over_entropy {:.4} x", account.over_entropy());
        println!("figure {name}/over_tensor_entropy {:.4} x", account.over_tensor_entropy());
    }
    println!("figure {name}/encode {:.2} GB/s", 4e-9 * values.len() as f64 / encode.as_secs_f64());

    let mut sum = Accumulator::new(
        Arc::clone(layout),
        Canonical::from_values(Arc::clone(layout), values).unwrap().grid(),
    );
    let most = codec.entries_max(layout);
    let decode_add = fastest(std::iter::repeat_n((), if tiny { 1 } else { 20 }), |()| {
        let decoded = decode_update(layout, most, &encoded.payload).unwrap();
        sum.add(&decoded, 1).unwrap();
    });
    println!("figure {name}/decode_add {:.1} M/s", 1e-6 * entries as f64 / decode_add.as_secs_f64());
}

/// How many multiples of 4 bits a message of codec `public` holds, and their empirical entropy in bits; where it tells their
/// frequencies, by these.
fn multiples(payload: &[u8]) -> (usize, f64) {
    let varint = |at: usize| {
        let len = 1 + payload[at..].iter().take_while(|&&byte| byte >= 128).count();
        let value =
            payload[at..at + len].iter().rev().fold(0, |value, &byte| value << 7 | usize::from(byte & 127));
        (value, at + len)
    };
    let (_, mask) = varint(1);
    let (count, bits) = varint(mask + 4);
    assert_eq!(payload[bits], 4);
    let mut at = bits + 2 + 2 * count.div_ceil(512);
    let mut counts = [0_u64; 16];
    if payload[bits + 1] == 1 {
        for magnitude in 1..8 {
            let (frequency, next) = varint(at);
            counts[7 - magnitude] = frequency as u64;
            counts[7 + magnitude] = frequency as u64;
            at = next;
        }
        counts[7] = 2 * 1024 - counts.iter().sum::<u64>();
        return (count, entropy(&counts));
    }
    for number in 0..count {
        counts[usize::from(payload[at + number / 2] >> (4 * (number % 2)) & 15)] += 1;
    }
    (count, entropy(&counts))
}

fn snapshot(layout: &Arc<Layout>, values: &[f32], tiny: bool) {
    let model = Canonical::from_values(Arc::clone(layout), values).unwrap();
    let none = StatisticsLayout::new(&Layout::new(vec![]).unwrap()).unwrap();
    let bytes = encode_snapshot(&none, &model, &[]);
    let runs = if tiny { 1 } else { 5 };
    let encode = fastest(std::iter::repeat_n((), runs), |()| encode_snapshot(&none, &model, &[]));
    let decode = fastest(std::iter::repeat_n((), runs), |()| decode_snapshot(layout, &none, &bytes).unwrap());
    let dense = 4 * values.len();
    println!("figure codec/snapshot/bytes {} B", bytes.len());
    println!("figure codec/snapshot/ratio {:.2} x", dense as f64 / bytes.len() as f64);
    println!("figure codec/snapshot/encode {:.2} GB/s", 1e-9 * dense as f64 / encode.as_secs_f64());
    println!("figure codec/snapshot/decode {:.2} GB/s", 1e-9 * dense as f64 / decode.as_secs_f64());
}

fn fastest<I, O>(inputs: impl Iterator<Item = I>, mut run: impl FnMut(I) -> O) -> Duration {
    let mut time = |input| {
        let start = Instant::now();
        let output = run(input);
        let elapsed = start.elapsed();
        drop(output);
        elapsed
    };
    inputs.map(&mut time).min().unwrap()
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
