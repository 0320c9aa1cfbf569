//! Cuts large labelled pictures into tiles and writes one VOC folder per site: how aerial pictures become a federation.
//!
//! ```text
//! cargo run -p dataset --example tiles -- --site west=FOLDER:0:0.5 --site east=FOLDER:0.5:1 --site river=OTHER \
//!     --tile 200 --class Tree --test-every 4 --out SITES
//! ```
//!
//! Each FOLDER holds pictures with a VOC label file beside each; the two numbers take a part of their width. Tiles do not
//! overlap, so no held-out pixel is ever trained on. Held-out tiles of all sites go to `SITES/held-out`.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use dataset::{Annotation, Dataset, DecodeLimits, Image, ImageSource, OpenOptions, Sample, open, write_voc};

/// Part of a box that must lie in a tile for it to count; less is an ignored region.
const SIGHT_MIN: f32 = 0.5;

/// Cut large labelled pictures into tiles.
#[derive(Parser)]
struct Args {
    /// A site: its name, the folder with its pictures, and optionally which part of their width, from 0 to 1.
    #[arg(long = "site", required = true, value_name = "NAME=FOLDER[:FROM:TO]", value_parser = site)]
    sites: Vec<Site>,
    /// Side of a tile, pixels of the picture.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..))]
    tile: u32,
    /// Label all boxes with this one class.
    #[arg(long)]
    class: Option<String>,
    /// Every n-th tile of a site is held out; 0 holds none out.
    #[arg(long, default_value_t = 4)]
    test_every: usize,
    /// Folder to make the sites' folders in.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Debug)]
struct Site {
    name: String,
    folder: PathBuf,
    columns: Range<f32>,
}

fn site(text: &str) -> Result<Site, String> {
    let (name, rest) = text.split_once('=').ok_or("expected NAME=FOLDER")?;
    let parts: Vec<&str> = rest.split(':').collect();
    let columns = match parts[..] {
        [_] => 0.0..1.0,
        [_, from, to] => {
            let share = |text: &str| text.parse::<f32>().map_err(|_| format!("{text:?} is not a number"));
            share(from)?..share(to)?
        }
        _ => return Err("expected NAME=FOLDER or NAME=FOLDER:FROM:TO".into()),
    };
    Ok(Site { name: name.into(), folder: parts[0].into(), columns })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tiles: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut held_out = Dataset::default();
    for site in &args.sites {
        let tiles = tiles(site, args)?;
        let is_held_out = |tile: &usize| args.test_every > 0 && tile % args.test_every == args.test_every / 2;
        let (test, train): (Vec<usize>, Vec<usize>) = (0..tiles.samples.len()).partition(is_held_out);
        let (test, train) = (tiles.subset(&test), tiles.subset(&train));
        let all: Vec<usize> = (0..train.samples.len()).collect();
        write_voc(&args.out.join(&site.name), &train, &[("train", &all)])?;
        let boxes: usize = tiles.samples.iter().map(|tile| tile.annotations.len()).sum();
        let (train, out) = (train.samples.len(), test.samples.len());
        eprintln!("{}: {train} training tiles, {out} held out, {boxes} boxes", site.name);
        if held_out.classes.is_empty() {
            held_out.classes = test.classes;
        }
        held_out.samples.extend(test.samples);
    }
    let all: Vec<usize> = (0..held_out.samples.len()).collect();
    write_voc(&args.out.join("held-out"), &held_out, &[("test", &all)])?;
    Ok(())
}

/// All tiles of a site that have a box.
fn tiles(site: &Site, args: &Args) -> Result<Dataset, Box<dyn std::error::Error>> {
    let pictures = open(&site.folder, &OpenOptions::default())?;
    let one_class = args.class.clone().map(|class| vec![class]);
    let classes = one_class.unwrap_or_else(|| pictures.classes.clone());
    let mut tiles = Dataset { classes, ..Dataset::default() };
    for picture in &pictures.samples {
        let image = picture.load(&DecodeLimits::default())?;
        for top in (0..image.height()).step_by(args.tile as usize) {
            for left in (0..image.width()).step_by(args.tile as usize) {
                if site.columns.contains(&(left as f32 / image.width() as f32)) {
                    tiles.samples.extend(cut(picture, &image, (left, top), args));
                }
            }
        }
    }
    Ok(tiles)
}

/// The tile at `(left, top)` with the boxes in its frame; `None` for slivers at the edge and tiles without boxes, of which
/// nobody can tell whether they were looked at.
fn cut(picture: &Sample, image: &Image, (left, top): (u32, u32), args: &Args) -> Option<Sample> {
    let width = args.tile.min(image.width() - left);
    let height = args.tile.min(image.height() - top);
    if width < args.tile / 2 || height < args.tile / 2 {
        return None;
    }
    let frame = [left as f32, top as f32, (left + width) as f32, (top + height) as f32];
    let annotations: Vec<Annotation> =
        picture.annotations.iter().filter_map(|whole| seen(whole, frame, args)).collect();
    if annotations.is_empty() {
        return None;
    }
    let rows = (top..top + height).flat_map(|y| {
        let row = image.row(y);
        &row[3 * left as usize..3 * (left + width) as usize]
    });
    let pixels = Image::new(width, height, rows.copied().collect())?;
    Some(Sample {
        image: ImageSource::Memory(Arc::new(pixels)),
        width,
        height,
        annotations,
        labelled: true,
        annotated_classes: if args.class.is_some() {
            Arc::new([0])
        } else {
            Arc::clone(&picture.annotated_classes)
        },
    })
}

fn seen(whole: &Annotation, frame: [f32; 4], args: &Args) -> Option<Annotation> {
    let [x1, y1, x2, y2] = whole.bbox;
    let bbox = [x1.max(frame[0]), y1.max(frame[1]), x2.min(frame[2]), y2.min(frame[3])];
    if bbox[2] - bbox[0] < 2.0 || bbox[3] - bbox[1] < 2.0 {
        return None;
    }
    let part = Annotation { bbox, ..*whole }.area() / whole.area();
    Some(Annotation {
        class: if args.class.is_some() { 0 } else { whole.class },
        bbox: [bbox[0] - frame[0], bbox[1] - frame[1], bbox[2] - frame[0], bbox[3] - frame[1]],
        ignore: whole.ignore || part < SIGHT_MIN,
    })
}
