//! How fast dense updates are added, against how fast memory is.

use std::hint::black_box;
use std::time::Instant;

use params::{Accumulator, Canonical};

use crate::host::layout;

/// Adds dense updates of so many values. Per value 4 bytes are read from the update and 8 are read and written in the sums; the
/// same traffic is then measured as plain copies, by turns.
pub(crate) fn run(values: usize, times: usize) {
    let layout = layout(values);
    let delta: Vec<_> = (0..values).map(|index| 1e-3 * (index as f32 * 0.7).sin().powi(5)).collect();
    let codec = codec::build("dense", &codec::Settings::default()).unwrap();
    let payload = codec.encode(&layout, &delta).unwrap().payload;
    let model = Canonical::from_values(layout.clone(), &delta).unwrap();
    let mut sums = Accumulator::new(layout.clone(), model.grid());
    let source = vec![1_u64; values];
    let mut target = vec![0_u64; values];
    let (mut adding, mut copying) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let start = Instant::now();
        let entries = codec::decode_update(&layout, values, &payload).unwrap();
        sums.add(&entries, 50).unwrap();
        adding.push(20.0 * values as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        copying.push(16.0 * values as f64 / start.elapsed().as_secs_f64());
    }
    black_box(sums.mean_subticks());
    adding.sort_by(f64::total_cmp);
    copying.sort_by(f64::total_cmp);
    let (adding, copying) = (adding[times / 2], copying[times / 2]);
    println!("figure aggregate/dense {:.2} GB/s", adding / 1e9);
    println!("figure aggregate/bandwidth {:.2} GB/s", copying / 1e9);
    println!("figure aggregate/dense_over_bandwidth {:.3} x", adding / copying);
}
