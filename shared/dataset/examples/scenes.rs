//! Writes procedural scenes as VOC folders: one for each site, and one with unseen scenes of all sites.
//!
//! ```text
//! cargo run -p dataset --example scenes -- --out /tmp/scenes --sites 3 --images 100 --test-images 30 --seed 7
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use dataset::scenes::{CLASSES_MAX, World, scene_dataset};
use dataset::{Dataset, WriteError, write_voc};

/// Draw labelled scenes of several sites, each into a Pascal VOC folder.
#[derive(Parser)]
struct Args {
    /// Folder to make `site-0`, `site-1`, ... and `test` in.
    #[arg(long)]
    out: PathBuf,
    /// Number of sites.
    #[arg(long, default_value_t = 3)]
    sites: u32,
    /// Scenes for each site.
    #[arg(long, default_value_t = 100)]
    images: u64,
    /// Further scenes of each site, put together in the folder `test`.
    #[arg(long, default_value_t = 0)]
    test_images: u64,
    /// The same seed gives the same pictures.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Number of classes.
    #[arg(long, default_value_t = CLASSES_MAX)]
    classes: usize,
    /// How far each site prefers its own classes, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    label_skew: f32,
    /// How far sites differ in background, light and colours, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    feature_shift: f32,
    /// How many classes exchange their shapes at a site, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    concept_shift: f32,
    /// Width and height in pixels.
    #[arg(long, default_value = "160x120", value_parser = parse_size)]
    size: (u32, u32),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), WriteError> {
    let world = World {
        seed: args.seed,
        classes: args.classes,
        label_skew: args.label_skew,
        feature_shift: args.feature_shift,
        concept_shift: args.concept_shift,
    };
    let mut test = Dataset { classes: world.class_names(), ..Dataset::default() };
    for index in 0..args.sites {
        let site = Arc::new(world.site(index));
        let own = scene_dataset(&world, &site, 0..args.images, args.size);
        write_voc(&args.out.join(format!("site-{index}")), &own, &[("train", &all(&own))])?;
        let unseen = scene_dataset(&world, &site, args.images..args.images + args.test_images, args.size);
        test.samples.extend(unseen.samples);
    }
    if !test.samples.is_empty() {
        write_voc(&args.out.join("test"), &test, &[("test", &all(&test))])?;
    }
    Ok(())
}

fn all(dataset: &Dataset) -> Vec<usize> {
    (0..dataset.samples.len()).collect()
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| side.parse().ok().filter(|side| (16..=4096).contains(side));
    text.split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or_else(|| format!("{text:?}, expected for instance 160x120, sides from 16 to 4096"))
}
