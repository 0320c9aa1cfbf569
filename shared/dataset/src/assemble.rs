//! What the labels say meets what the images are: sizes, edges, duplicates, classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Header, read_header};
use crate::folder::Folder;
use crate::format::{RawBox, RawDataset, RawItem};
use crate::open::{OpenError, OpenOptions, UnknownClasses};
use crate::problem::{Problems, Trouble};
use crate::sample::{Annotation, Dataset, ImageSource, Sample};

/// How far a box may reach over the edge without mention, in pixels: tools differ by one in where pixels begin.
const EDGE_TOLERANCE: f64 = 1.5;

/// Boxes with a thinner side are worth a look, in pixels.
const SIDE_MIN: f32 = 2.0;

pub(crate) fn assemble(
    folder: &Folder,
    raw: RawDataset,
    options: &OpenOptions,
) -> Result<Dataset, OpenError> {
    let mut problems = raw.problems;
    let classes = ClassMap::new(&raw.classes, &raw.classes_file, options, &mut problems);
    let images = raw.items.len();
    let mut samples = Vec::with_capacity(images);
    let mut seen = BTreeSet::new();
    for item in raw.items {
        if !seen.insert(item.image.clone()) {
            problems.push(item.label, None, Trouble::ImageRepeated { image: item.image });
            continue;
        }
        let path = folder.root.join(&item.image);
        match read_header(&path, &options.limits) {
            Ok(header) => samples.push(sample(path, header, item, &classes, &mut problems)?),
            Err(error) => {
                problems.push(item.image, None, Trouble::ImageUnreadable { reason: error.reason.to_string() })
            }
        }
    }
    let problems = problems.into_vec();
    if samples.is_empty() {
        let first = problems.first().map_or_else(|| "an empty split".to_owned(), ToString::to_string);
        return Err(OpenError::NothingUsable { dir: folder.root.clone(), images, first });
    }
    Ok(Dataset { classes: classes.names, samples, problems })
}

fn sample(
    path: PathBuf,
    header: Header,
    item: RawItem,
    classes: &ClassMap,
    problems: &mut Problems,
) -> Result<Sample, OpenError> {
    check_stated_size(&item, header, problems);
    let labelled = item.boxes.is_some();
    let mut annotations: Vec<Annotation> = Vec::new();
    let mut seen = BTreeSet::new();
    for raw in item.boxes.into_iter().flatten() {
        let Some(class) = classes.index(&raw, &item.label, problems)? else { continue };
        match clip(&raw, header) {
            Ok((bbox, doubt)) => {
                let annotation = Annotation { class, bbox, ignore: raw.ignore };
                if !seen.insert((class, bbox.map(f32::to_bits), raw.ignore)) {
                    let class = classes.names[class as usize].clone();
                    problems.push(&item.label, raw.line, Trouble::BoxRepeated { class });
                    continue;
                }
                if let Some(trouble) = doubt {
                    problems.push(&item.label, raw.line, trouble);
                }
                annotations.push(annotation);
            }
            Err(trouble) => problems.push(&item.label, raw.line, trouble),
        }
    }
    Ok(Sample {
        image: ImageSource::File(path),
        width: header.width,
        height: header.height,
        annotations,
        labelled,
        annotated_classes: if labelled { Arc::clone(&classes.annotated) } else { Arc::from([]) },
    })
}

fn check_stated_size(item: &RawItem, header: Header, problems: &mut Problems) {
    let (stated_width, stated_height) = item.stated;
    let (width, height) = (header.width, header.height);
    if stated_width == 0 || stated_height == 0 || item.stated == (width, height) {
        return;
    }
    let trouble = if header.turned && item.stated == (height, width) {
        Trouble::RotationDoubt { stated_width, stated_height }
    } else {
        Trouble::SizeMismatch { stated_width, stated_height, width, height }
    };
    problems.push(&item.label, None, trouble);
}

/// The box in pixels, cut at the edges of the image, and whether that is worth mentioning.
fn clip(raw: &RawBox, header: Header) -> Result<([f32; 4], Option<Trouble>), Trouble> {
    let (width, height) = (header.width, header.height);
    let size = [f64::from(width), f64::from(height)];
    let mut corners = raw.corners;
    if raw.normalised {
        for (axis, corner) in corners.iter_mut().enumerate() {
            *corner *= size[axis % 2];
        }
    }
    let [left, top, right, bottom] = corners;
    // Written so that NaN fails.
    if !(corners.iter().all(|c| c.is_finite()) && left < right && top < bottom) {
        return Err(Trouble::BoxEmpty { corners });
    }
    let inside = [left.max(0.0), top.max(0.0), right.min(size[0]), bottom.min(size[1])];
    let bbox = inside.map(|c| c as f32);
    if !(bbox[0] < bbox[2] && bbox[1] < bbox[3]) {
        let outside = inside[0] >= inside[2] || inside[1] >= inside[3];
        return Err(if outside {
            Trouble::BoxOutside { corners, width, height }
        } else {
            Trouble::BoxEmpty { corners }
        });
    }
    let moved = corners.iter().zip(inside).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let doubt = if moved > EDGE_TOLERANCE {
        Some(Trouble::BoxCut { corners, width, height })
    } else {
        let [width, height] = [bbox[2] - bbox[0], bbox[3] - bbox[1]];
        (width.min(height) < SIDE_MIN).then_some(Trouble::BoxTiny { width, height })
    };
    Ok((bbox, doubt))
}

/// Class indices of the labels to class indices of the data set.
struct ClassMap {
    names: Vec<String>,
    /// For each class of the labels: its index in `names`.
    indices: Vec<Option<u32>>,
    raw_names: Vec<String>,
    annotated: Arc<[u32]>,
    unknown: UnknownClasses,
}

impl ClassMap {
    fn new(raw_names: &[String], file: &Path, options: &OpenOptions, problems: &mut Problems) -> Self {
        let mut by_name = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        for name in options.classes.as_deref().unwrap_or(raw_names) {
            if by_name.contains_key(name) && options.classes.is_none() {
                problems.push(file, None, Trouble::RepeatedClass { class: name.clone() });
                continue;
            }
            by_name.entry(name.clone()).or_insert(names.len() as u32);
            names.push(name.clone());
        }
        let indices: Vec<Option<u32>> = raw_names.iter().map(|name| by_name.get(name).copied()).collect();
        let annotated: BTreeSet<u32> = indices.iter().copied().flatten().collect();
        Self {
            names,
            indices,
            raw_names: raw_names.to_vec(),
            annotated: annotated.into_iter().collect(),
            unknown: options.unknown_classes,
        }
    }

    fn index(&self, raw: &RawBox, label: &Path, problems: &mut Problems) -> Result<Option<u32>, OpenError> {
        if let Some(index) = self.indices.get(raw.class).copied().flatten() {
            return Ok(Some(index));
        }
        let class = self.raw_names.get(raw.class).cloned().unwrap_or_else(|| raw.class.to_string());
        match self.unknown {
            UnknownClasses::Refuse => Err(OpenError::UnknownClass {
                file: label.to_path_buf(),
                class,
                known: self.names.join(", "),
            }),
            UnknownClasses::LeaveOut => {
                let trouble = Trouble::UnknownClass { class, known: self.names.len() };
                problems.push(label, raw.line, trouble);
                Ok(None)
            }
        }
    }
}
