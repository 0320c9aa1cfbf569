//! Statistics of a given model on given images: what makes averaged weights usable.
//!
//! Running statistics belong to the weights they were collected under. Averages of weights, over steps or over devices, need
//! their own: one forward pass over a sample of the training images, un-augmented.

use burn::tensor::Device;
use dataset::DecodeError;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::architecture::Architecture;
use crate::examples::Examples;
use crate::fit::even_chunks;
use crate::moments::Pool;
use crate::ops::Statistics;
use crate::prefetch::ahead;
use crate::weights::Weights;

/// Images that are enough for stable statistics.
pub const IMAGES_MAX: usize = 128;

/// Replaces the statistics in `values` (all scopes, in the layout) by those of at most [`IMAGES_MAX`] of `examples`, chosen
/// by `seed`, in batches of at most `batch`; returns how many images were used. Without images nothing changes.
///
/// One pass: each batch is normalised by its own statistics, as in training, and the moments of all batches are pooled
/// exactly.
///
/// # Errors
/// A whole batch of unreadable images.
pub fn calibrate(
    architecture: &Architecture,
    examples: &Examples,
    device: &Device,
    values: &mut [f32],
    batch: usize,
    seed: u64,
) -> Result<u32, DecodeError> {
    let mut chosen: Vec<usize> = (0..examples.len()).collect();
    chosen.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    chosen.truncate(IMAGES_MAX);
    let layout = architecture.layout();
    let weights = Weights::fixed(layout, values, device);
    let mut pool = Pool::new(layout);
    let mut norms = Vec::new();
    let mut images = 0;
    let parts: Vec<&[usize]> = even_chunks(&chosen, batch).collect();
    ahead(
        &parts,
        |part| examples.plain(part),
        |_, drawn| {
            let mut drawn = drawn?;
            let outputs = architecture.forward(&weights, drawn.take_pixels(device), Statistics::Batch);
            norms = outputs.moments.iter().map(|moments| moments.0).collect();
            pool.add(layout, drawn.len(), outputs.moments);
            images += drawn.len() as u32;
            Ok(())
        },
    )?;
    pool.write(layout, norms.into_iter(), values);
    Ok(images)
}
