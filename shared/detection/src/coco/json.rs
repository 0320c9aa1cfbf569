//! COCO result and annotation files, read as pycocotools reads them, and two things more leniently: a missing
//! `iscrowd` is 0, a missing `area` is that of the box (pycocotools stops there). An empty list of results scores
//! 0 (pycocotools stops). Annotations of unlisted images, and annotations and results of unlisted categories,
//! count for nothing. Of annotations with the same id the last stands for all of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};

use super::evaluator::Evaluator;
use super::matching::{Candidate, Truth};
use super::report::CocoReport;

/// Why files cannot be scored. Where pycocotools has an assertion, its words are kept.
#[derive(Debug, thiserror::Error)]
pub enum CocoError {
    /// The results are something else than a list.
    #[error("results in not an array of objects: expected a JSON list of detections")]
    NotAnArray,
    /// A file that is not JSON of the expected form.
    #[error("{what} file: {source}")]
    Json {
        /// `results` or `annotations`.
        what: &'static str,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// Results of an image that the annotation file does not list.
    #[error(
        "Results do not correspond to current coco set: detection {index} is of image {found}, expected one listed in `images`"
    )]
    UnknownImage {
        /// Index of the detection in the file.
        index: usize,
        /// Its image.
        found: String,
    },
}

/// An id: COCO has whole numbers, some tools write strings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Number(i128),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{text}`"),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, a whole number or a string")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Id, E> {
                Ok(Id::Number(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Id, E> {
                Ok(Id::Number(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Id, E> {
                let whole = value.fract() == 0.0 && value.abs() < 1e18;
                if whole {
                    Ok(Id::Number(value as i128))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Id, E> {
                Ok(Id::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

#[derive(Deserialize)]
struct Entry {
    image_id: Id,
    category_id: Id,
    bbox: [f64; 4],
    score: f64,
}

#[derive(Deserialize)]
struct Image {
    id: Id,
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: Option<String>,
}

/// `iscrowd` as a number or a truth value.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(f64),
    Truth(bool),
}

#[derive(Deserialize)]
struct Annotation {
    id: Id,
    image_id: Id,
    category_id: Id,
    bbox: [f64; 4],
    area: Option<f64>,
    iscrowd: Option<Flag>,
}

impl Annotation {
    fn truth(&self) -> Truth {
        let crowd = match self.iscrowd {
            None => false,
            Some(Flag::Number(number)) => number != 0.0,
            Some(Flag::Truth(truth)) => truth,
        };
        let area = self.area.unwrap_or(self.bbox[2] * self.bbox[3]);
        Truth { xywh: self.bbox, area, crowd, ignore: crowd, counts: self.id != Id::Number(0) }
    }
}

#[derive(Deserialize)]
struct AnnotationFile {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

/// Detections and objects of one image and category, in the order of their files.
type Cell = (Vec<Candidate>, Vec<Truth>);

/// Scores a COCO result file (a list of `image_id`, `category_id`, `bbox` as x, y, width, height in pixels,
/// `score`) against a COCO annotation file. Equal to pycocotools with default parameters.
///
/// # Errors
/// Files that are not JSON of this form; results of images that are not listed.
pub fn score_json(detections_json: &str, annotations_json: &str) -> Result<CocoReport, CocoError> {
    let file: AnnotationFile = serde_json::from_str(annotations_json)
        .map_err(|source| CocoError::Json { what: "annotations", source })?;
    if !detections_json.trim_start().starts_with('[') {
        return Err(CocoError::NotAnArray);
    }
    let results: Vec<Entry> = serde_json::from_str(detections_json)
        .map_err(|source| CocoError::Json { what: "results", source })?;

    let images: BTreeMap<&Id, usize> = index(file.images.iter().map(|image| &image.id));
    let categories: BTreeMap<&Id, usize> = index(file.categories.iter().map(|category| &category.id));
    let mut names: Vec<String> = categories.keys().map(|id| id.to_string()).collect();
    for category in &file.categories {
        if let Some(name) = &category.name {
            names[categories[&category.id]].clone_from(name);
        }
    }

    let mut cells: BTreeMap<(usize, usize), Cell> = BTreeMap::new();
    let last: BTreeMap<&Id, &Annotation> = file.annotations.iter().map(|a| (&a.id, a)).collect();
    let mut by_image: Vec<(usize, &Annotation)> = Vec::new();
    for annotation in &file.annotations {
        if let (Some(&image), true) =
            (images.get(&annotation.image_id), categories.contains_key(&annotation.category_id))
        {
            by_image.push((image, last[&annotation.id]));
        }
    }
    // pycocotools collects image by image, which matters only where an id stands in several images.
    by_image.sort_by_key(|&(image, _)| image);
    for (_, annotation) in by_image {
        let place = (images.get(&annotation.image_id), categories.get(&annotation.category_id));
        if let (Some(&image), Some(&category)) = place {
            cells.entry((image, category)).or_default().1.push(annotation.truth());
        }
    }
    for (index, result) in results.iter().enumerate() {
        let Some(&image) = images.get(&result.image_id) else {
            return Err(CocoError::UnknownImage { index, found: result.image_id.to_string() });
        };
        if let Some(&category) = categories.get(&result.category_id) {
            let candidate = Candidate { xywh: result.bbox, score: result.score };
            cells.entry((image, category)).or_default().0.push(candidate);
        }
    }

    let mut evaluator = Evaluator::new(&names);
    evaluator.set_images(images.len());
    for ((_, category), (candidates, truths)) in cells {
        evaluator.add_class(category, &candidates, &truths);
    }
    Ok(evaluator.report())
}

/// Numbers distinct ids in rising order.
fn index<'a>(ids: impl Iterator<Item = &'a Id>) -> BTreeMap<&'a Id, usize> {
    let mut numbers: BTreeMap<&Id, usize> = ids.map(|id| (id, 0)).collect();
    for (number, value) in numbers.values_mut().enumerate() {
        *value = number;
    }
    numbers
}
