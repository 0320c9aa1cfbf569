//! Detections in the form of COCO result files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use detection::Detection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// One line of a result file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CocoResult {
    image_id: Value,
    category_id: Value,
    /// Left, top, width, height in pixels.
    bbox: [f32; 4],
    score: f32,
}

impl CocoResult {
    /// A detection in the picture of this id. Without ids of an annotation file, categories count from 1.
    pub(crate) fn new(detection: &Detection, image_id: &Value, ids: Option<&Ids>) -> Self {
        let bbox = detection.bbox;
        let numbered = || Value::from(detection.class + 1);
        let category = ids.and_then(|ids| ids.categories.get(detection.class as usize).cloned());
        Self {
            image_id: image_id.clone(),
            category_id: category.unwrap_or_else(numbered),
            bbox: [bbox.x1, bbox.y1, bbox.x2 - bbox.x1, bbox.y2 - bbox.y1],
            score: detection.score,
        }
    }
}

/// The ids of an annotation file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ids {
    /// By file name without folders.
    images: BTreeMap<String, Value>,
    /// By class of the model.
    categories: Vec<Value>,
    file: String,
}

#[derive(Deserialize)]
struct Annotations {
    images: Vec<ImageEntry>,
    categories: Vec<CategoryEntry>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: Value,
    file_name: String,
}

#[derive(Deserialize)]
struct CategoryEntry {
    id: Value,
    name: String,
}

impl Ids {
    /// Reads the ids of a COCO annotation file, which has to know all `classes`.
    ///
    /// # Errors
    /// An unreadable file, a class it does not have.
    pub(crate) fn read(path: &Path, classes: &[String]) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let text =
            fs::read(path).map_err(|error| Failure::usage(format!("{file}: cannot be read: {error}")))?;
        let Annotations { images, categories } = serde_json::from_slice(&text)
            .map_err(|error| Failure::usage(format!("{file}: not COCO annotations: {error}")))?;
        let images = images.into_iter().map(|image| (base_name(&image.file_name), image.id)).collect();
        let category = |class: &String| {
            let found = categories.iter().find(|category| category.name == *class);
            found
                .map(|category| category.id.clone())
                .ok_or_else(|| Failure::usage(format!("{file}: no category {class:?}, which the model has")))
        };
        let categories = classes.iter().map(category).collect::<Result<_, _>>()?;
        Ok(Self { images, categories, file })
    }

    /// The id of a picture.
    ///
    /// # Errors
    /// A picture that is not listed.
    pub(crate) fn image(&self, path: &Path) -> Result<Value, Failure> {
        let name = base_name(&path.to_string_lossy());
        let unknown = || Failure::usage(format!("{}: no image {name:?}", self.file));
        self.images.get(&name).cloned().ok_or_else(unknown)
    }
}

/// Annotation files name pictures with folders of their own, or without.
fn base_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use detection::BBox;

    use super::*;

    #[test]
    fn results_take_over_the_ids_of_the_annotations() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("annotations.json");
        let text = r#"{"images": [{"id": 17, "file_name": "val/a.jpg"}, {"id": "x", "file_name": "b.jpg"}],
                       "categories": [{"id": 3, "name": "dog"}, {"id": 9, "name": "cat"}], "annotations": []}"#;
        fs::write(&file, text).unwrap();
        let ids = Ids::read(&file, &["cat", "dog"].map(String::from)).unwrap();
        let image = ids.image(Path::new("/elsewhere/a.jpg")).unwrap();
        let bbox = BBox { x1: 1.0, y1: 2.0, x2: 4.0, y2: 8.0 };
        let result = CocoResult::new(&Detection { bbox, class: 1, score: 0.5 }, &image, Some(&ids));
        let json = serde_json::to_string(&result).unwrap();
        assert_eq!(json, r#"{"image_id":17,"category_id":3,"bbox":[1.0,2.0,3.0,6.0],"score":0.5}"#);
        assert!(ids.image(Path::new("c.jpg")).unwrap_err().line.contains("no image \"c.jpg\""));
        assert!(Ids::read(&file, &["cow".to_owned()]).unwrap_err().line.contains("no category \"cow\""));
    }
}
