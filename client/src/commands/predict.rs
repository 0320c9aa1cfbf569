//! `client predict`: objects in pictures, as pictures and as JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dataset::decode::decode_file;
use dataset::{DecodeLimits, Image};
use detection::Detection;
use image::ImageFormat;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Predict;
use crate::coco::{CocoResult, Ids};
use crate::draw::draw;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::learning::{Detector, Resources};
use crate::output::print_line;
use crate::stored::StoredModel;

/// The file with all detections as COCO results.
const RESULTS: &str = "detections.json";

/// What is written for each picture.
#[derive(Serialize)]
struct Found<'a> {
    image: String,
    image_id: &'a Value,
    width: u32,
    height: u32,
    objects: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    class: &'a str,
    score: f32,
    /// Left, top, width, height in pixels.
    bbox: [f32; 4],
}

pub(super) fn execute(arguments: &Predict) -> Result<ExitCode, Failure> {
    let Predict { images, state, out, score, global, annotations, compute } = arguments;
    let resources = Resources::new(compute)?;
    let (folder, _) = Folder::look(&state.path)?;
    let stored = StoredModel::read(&folder)?;
    let classes = &stored.last.about.spec.classes;
    let ids = annotations.as_deref().map(|file| Ids::read(file, classes)).transpose()?;
    let detector = Detector::new(&stored, *global, *score, resources)?;
    fs::create_dir_all(out).map_err(|error| cannot("make", out, &error))?;

    let mut names = Names::new(Path::new(RESULTS));
    let mut results: Vec<CocoResult> = Vec::new();
    let mut failed = 0;
    for (number, path) in images.iter().enumerate() {
        let picture = match decode_file(path, &DecodeLimits::default()) {
            Ok(picture) => picture,
            Err(error) => {
                eprintln!("left out: {error}");
                failed += 1;
                continue;
            }
        };
        let found = detector.find(&picture)?;
        let image_id = ids.as_ref().map_or_else(|| Ok(Value::from(number + 1)), |ids| ids.image(path))?;
        let objects = found.iter().map(|detection| object(detection, classes)).collect();
        let (width, height) = (picture.width(), picture.height());
        let record =
            Found { image: path.to_string_lossy().into_owned(), image_id: &image_id, width, height, objects };
        let name = names.take(path);
        write(&out.join(format!("{name}.json")), &to_json(&record))?;
        save(&draw(&picture, &found, classes), path, &out.join(name))?;
        results.extend(found.iter().map(|detection| CocoResult::new(detection, &image_id, ids.as_ref())));
        print_line(format_args!("{}: {}", path.display(), summary(&found, classes)));
    }
    let results_file = out.join(RESULTS);
    write(&results_file, &to_json(&results))?;
    if failed > 0 {
        return Err(Failure::run(format!("{failed} of {} pictures could not be read", images.len())));
    }
    Ok(ExitCode::SUCCESS)
}

fn object<'a>(detection: &Detection, classes: &'a [String]) -> Object<'a> {
    let bbox = detection.bbox;
    Object {
        class: classes.get(detection.class as usize).map_or("?", String::as_str),
        score: detection.score,
        bbox: [bbox.x1, bbox.y1, bbox.x2 - bbox.x1, bbox.y2 - bbox.y1],
    }
}

/// How many objects of which class.
fn summary(found: &[Detection], classes: &[String]) -> String {
    let counts = classes.iter().enumerate().filter_map(|(index, class)| {
        let count = found.iter().filter(|detection| detection.class as usize == index).count();
        (count > 0).then(|| format!("{count} {class}"))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") }
}

/// Names of output files: those of the pictures, made different where two pictures have the same.
struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    fn new(reserved: &Path) -> Self {
        Self { taken: BTreeSet::from([stem(reserved)]) }
    }

    fn take(&mut self, path: &Path) -> String {
        let stem = stem(path);
        let candidates = (2..).map(|number| format!("{stem}-{number}"));
        let mut all = std::iter::once(stem.clone()).chain(candidates);
        let name = all.find(|name| !self.taken.contains(name)).unwrap_or(stem);
        self.taken.insert(name.clone());
        name
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "picture".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// Writes a picture in the format of the original; what is neither becomes PNG.
fn save(picture: &Image, original: &Path, target: &Path) -> Result<(), Failure> {
    let is_jpeg = ImageFormat::from_path(original).is_ok_and(|format| format == ImageFormat::Jpeg);
    let (format, extension) = if is_jpeg { (ImageFormat::Jpeg, "jpg") } else { (ImageFormat::Png, "png") };
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{extension}"));
    let path = PathBuf::from(name);
    let (width, height) = (picture.width(), picture.height());
    image::save_buffer_with_format(&path, picture.pixels(), width, height, image::ColorType::Rgb8, format)
        .map_err(|error| cannot("write", &path, &error))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs with string keys always serialise.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| cannot("write", path, &error))
}

fn cannot(action: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::run(format!("{}: cannot {action}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_one_name_get_files_of_their_own() {
        let mut names = Names::new(Path::new(RESULTS));
        let taken =
            ["a/1.jpg", "b/1.png", "1-2.png", "detections.png", ".."].map(|path| names.take(Path::new(path)));
        assert_eq!(taken, ["1", "1-2", "1-2-2", "detections-2", "picture"]);
    }
}
