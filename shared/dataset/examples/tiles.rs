//! Cuts large labelled pictures into tiles and writes one VOC folder: how an aerial picture becomes a data set.
//!
//! ```text
//! cargo run -p dataset --example tiles -- --data FOLDER --tile 200 --class Tree --test-every 4 --out SITE
//! ```
//!
//! FOLDER holds pictures with a VOC label file beside each. Tiles do not overlap, so no held-out pixel is ever trained on.

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
    /// Folder with pictures and label files.
    #[arg(long)]
    data: PathBuf,
    /// Side of a tile, pixels of the picture.
    #[arg(long, default_value_t = 200)]
    tile: u32,
    /// Label all boxes with this one class.
    #[arg(long)]
    class: Option<String>,
    /// Every n-th tile is held out: listed as test, not as train.
    #[arg(long, default_value_t = 4)]
    test_every: usize,
    /// Only tiles whose left edge lies in this part of the picture: two numbers, 0..1.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    columns: Option<Vec<f32>>,
    /// Folder to make.
    #[arg(long)]
    out: PathBuf,
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
    let limits = DecodeLimits::default();
    let pictures = open(&args.data, &OpenOptions::default())?;
    let one_class = args.class.clone().map(|class| vec![class]);
    let mut tiles = Dataset { classes: one_class.unwrap_or(pictures.classes.clone()), ..Dataset::default() };
    let columns = args.columns.clone().unwrap_or(vec![0.0, 1.0]);
    for picture in &pictures.samples {
        let image = picture.load(&limits)?;
        for top in (0..image.height()).step_by(args.tile as usize) {
            for left in (0..image.width()).step_by(args.tile as usize) {
                let share = left as f32 / image.width() as f32;
                if (columns[0]..columns[1]).contains(&share) {
                    tiles.samples.extend(cut(picture, &image, (left, top), args));
                }
            }
        }
    }
    let held_out = |tile: &usize| args.test_every > 0 && tile % args.test_every == args.test_every / 2;
    let (test, train): (Vec<usize>, Vec<usize>) = (0..tiles.samples.len()).partition(held_out);
    write_voc(&args.out, &tiles, &[("train", &train), ("test", &test)])?;
    let boxes: usize = tiles.samples.iter().map(|tile| tile.annotations.len()).sum();
    eprintln!(
        "{}: {} training tiles, {} held out, {boxes} boxes",
        args.out.display(),
        train.len(),
        test.len()
    );
    Ok(())
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
