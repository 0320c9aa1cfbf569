//! How fast dense updates are checked and added, against how fast memory is.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use codec::payload::Payload;
use params::{Accumulator, Canonical, Scales};

use crate::host::layout;

/// Checks and adds dense updates of so many values, on one thread and on two, as the coordinator does it: as many updates as there are
/// threads are checked beside each other, then all threads add one after the other. Copies by as many threads are measured by turns.
///
/// Bandwidth is that of a copy, bytes read and bytes written. `dense` counts bytes alike: per value 4 are read from the update and 4 are
/// read and written in the sums (that the check reads the update's 4 bytes too is not counted). `taken_in` counts the update's 4 bytes
/// alone, and is compared with the bytes that a copy reads alone.
pub(crate) fn run(values: usize, times: usize) {
    let layout = layout(values);
    let delta: Vec<_> = (0..values).map(|index| 1e-3 * (index as f32 * 0.7).sin().powi(5)).collect();
    let codec = codec::build("dense", &codec::Settings::default()).unwrap();
    let payload = Payload::from(codec.encode(&layout, &delta).unwrap().payload);
    let weights: Vec<_> = (0..values).map(|index| (index as f32 * 0.37).sin()).collect();
    let model = Canonical::from_values(layout.clone(), &weights).unwrap();
    let scales = Scales::of(model.grid());
    let mut sums = Accumulator::new(layout.clone(), model.grid());
    let source = vec![1_u64; values];
    let mut target = vec![0_u64; values];
    for threads in [1, 2] {
        let (mut adding, mut copying) = (Vec::new(), Vec::new());
        for _ in 0..times {
            let start = Instant::now();
            let check = || codec::tiles::check(&layout, &scales, values, &payload).unwrap();
            let checked: Vec<_> = thread::scope(|scope| {
                let checks: Vec<_> = (0..threads).map(|_| scope.spawn(check)).collect();
                checks.into_iter().map(|check| check.join().unwrap()).collect()
            });
            for checked in checked {
                checked.add_to(&mut sums, &payload, 50, threads).unwrap();
            }
            adding.push((12 * threads * values) as f64 / start.elapsed().as_secs_f64());
            let start = Instant::now();
            copy(black_box(&source), &mut target, threads);
            black_box(&mut target);
            copying.push(16.0 * values as f64 / start.elapsed().as_secs_f64());
        }
        adding.sort_by(f64::total_cmp);
        copying.sort_by(f64::total_cmp);
        let (adding, copying) = (adding[times / 2], copying[times / 2]);
        let on = if threads == 1 { String::new() } else { format!("_{threads}_threads") };
        println!("figure aggregate/dense{on} {:.2} GB/s", adding / 1e9);
        println!("figure aggregate/bandwidth{on} {:.2} GB/s", copying / 1e9);
        println!("figure aggregate/dense{on}_over_bandwidth {:.3} x", adding / copying);
        println!(
            "figure aggregate/taken_in{on}_over_copied {:.3} x",
            (adding / 12.0) / (copying / 16.0) / 2.0
        );
    }
    black_box(sums.mean_subticks(0..values));
}

fn copy(source: &[u64], target: &mut [u64], threads: usize) {
    let part = source.len().div_ceil(threads);
    thread::scope(|scope| {
        for (source, target) in source.chunks(part).zip(target.chunks_mut(part)) {
            scope.spawn(move || target.copy_from_slice(source));
        }
    });
}
