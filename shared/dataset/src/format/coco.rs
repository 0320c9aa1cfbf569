//! COCO json: `images`, `annotations` and `categories` in one file, or one such file for each split.
//!
//! Boxes are left, top, width, height in pixels. Category ids have holes and any order; classes keep the order of the
//! list. Each entry is parsed on its own, so that one bad entry costs one box and has a line number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Format, RawBox, RawDataset, RawItem, Reader, SNIFF_FILES_MAX, path_in_split};
use crate::folder::{Folder, Lookup};
use crate::open::OpenError;
use crate::problem::{Problems, Trouble};

pub(super) const READER: Reader = Reader {
    format: Format::Coco,
    about: "a COCO json file (images, annotations, categories)",
    evidence,
    read,
};

/// Largest COCO file in bytes; the largest public ones are half of it.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Only the keys, to recognise a file.
#[derive(Deserialize)]
struct Keys {
    #[expect(dead_code, reason = "must be present, the content does not matter here")]
    images: Vec<IgnoredAny>,
    #[expect(dead_code, reason = "must be present, the content does not matter here")]
    annotations: Vec<IgnoredAny>,
    #[expect(dead_code, reason = "must be present, the content does not matter here")]
    categories: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    images: Vec<&'a RawValue>,
    #[serde(borrow)]
    annotations: Vec<&'a RawValue>,
    #[serde(borrow)]
    categories: Vec<&'a RawValue>,
}

/// Most tools write integers, some write strings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[derive(Deserialize)]
struct Picture {
    id: Id,
    file_name: String,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: Flag,
}

/// The format says 0 or 1, exporters also write booleans.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(f64),
    Truth(bool),
}

impl Default for Flag {
    fn default() -> Self {
        Self::Truth(false)
    }
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0.0,
            Self::Truth(truth) => *truth,
        }
    }
}

fn evidence(folder: &Folder) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (number, file) in folder.ending(&["json"]).enumerate() {
        if number == SNIFF_FILES_MAX && found.is_empty() {
            break;
        }
        if has_keys(&folder.root.join(file)) {
            found.push(file.to_path_buf());
        }
    }
    found
}

/// A damaged file still counts when its beginning names the three lists: the reader then says what is wrong with it.
fn has_keys(path: &Path) -> bool {
    let Ok(text) = read_bounded(path) else { return false };
    match serde_json::from_str::<Keys>(&text) {
        Ok(_) => true,
        Err(error) if error.is_data() => false,
        Err(_) => ["\"images\"", "\"annotations\"", "\"file_name\""].iter().all(|key| text.contains(key)),
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("{bytes} bytes, at most {FILE_BYTES_MAX} allowed"));
    }
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let text = String::from_utf8(text).map_err(|_| "not UTF-8 text".to_owned())?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn read(folder: &Folder, files: &[PathBuf], split: Option<&str>) -> Result<RawDataset, OpenError> {
    let chosen: Vec<&PathBuf> = files.iter().filter(|f| split.is_none_or(|s| path_in_split(f, s))).collect();
    if let (Some(split), true) = (split, chosen.is_empty()) {
        return Err(OpenError::NoSuchSplit {
            dir: folder.root.clone(),
            split: split.to_owned(),
            found: files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "),
        });
    }
    let mut out = RawDataset {
        classes_file: chosen.first().map(|f| (*f).clone()).unwrap_or_default(),
        ..Default::default()
    };
    let mut label_of: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for file in chosen {
        read_file(folder, file, &mut out)?;
        for item in out.items.iter().filter(|item| item.label == *file) {
            match label_of.get(&item.image) {
                Some(first) if first != file => {
                    let (first, second) = (first.clone(), file.clone());
                    return Err(OpenError::LabelledTwice { first, second, image: item.image.clone() });
                }
                _ => _ = label_of.insert(item.image.clone(), file.clone()),
            }
        }
    }
    if split.is_none() {
        // Images that no file lists were never looked at.
        let unlisted = folder.images.iter().filter(|image| !label_of.contains_key(*image));
        out.items.extend(unlisted.map(|image| RawItem {
            image: image.clone(),
            label: image.clone(),
            stated: (0, 0),
            boxes: None,
        }));
    }
    Ok(out)
}

fn read_file(folder: &Folder, file: &Path, out: &mut RawDataset) -> Result<(), OpenError> {
    let bad = |reason| OpenError::BadLabels { file: file.to_path_buf(), reason };
    let text = read_bounded(&folder.root.join(file)).map_err(bad)?;
    let parsed: File<'_> = serde_json::from_str(&text).map_err(|e| bad(format!("not a COCO file: {e}")))?;
    let lines = Lines::new(&text, file);

    let mut categories: BTreeMap<Id, usize> = BTreeMap::new();
    for raw in parsed.categories {
        let Some(Category { id, name }) = lines.parse(raw, &mut out.problems) else { continue };
        if categories.contains_key(&id) {
            lines.report(
                raw,
                Trouble::DuplicateId { what: "category", id: id.to_string() },
                &mut out.problems,
            );
            continue;
        }
        // Files of several splits share their classes by name.
        let index = out.classes.iter().position(|known| *known == name).unwrap_or_else(|| {
            out.classes.push(name);
            out.classes.len() - 1
        });
        categories.insert(id, index);
    }

    let near = file.parent().unwrap_or(Path::new(""));
    let mut pictures: BTreeMap<Id, Option<usize>> = BTreeMap::new();
    for raw in parsed.images {
        let Some(picture): Option<Picture> = lines.parse(raw, &mut out.problems) else { continue };
        if pictures.contains_key(&picture.id) {
            let id = picture.id.to_string();
            lines.report(raw, Trouble::DuplicateId { what: "image", id }, &mut out.problems);
            continue;
        }
        // An image without a file keeps its id, so that its boxes are not reported one by one.
        let place = match folder.image_named(&picture.file_name, near) {
            Lookup::Found(image) => {
                out.items.push(RawItem {
                    image: image.to_path_buf(),
                    label: file.to_path_buf(),
                    stated: (picture.width.unwrap_or(0.0) as u32, picture.height.unwrap_or(0.0) as u32),
                    boxes: Some(Vec::new()),
                });
                Some(out.items.len() - 1)
            }
            Lookup::Missing => {
                lines.report(raw, Trouble::ImageMissing { image: picture.file_name }, &mut out.problems);
                None
            }
            Lookup::Ambiguous(first, second) => {
                let (first, second) = (first.to_path_buf(), second.to_path_buf());
                let trouble = Trouble::ImageAmbiguous { image: picture.file_name, first, second };
                lines.report(raw, trouble, &mut out.problems);
                None
            }
        };
        pictures.insert(picture.id, place);
    }

    let mut used = BTreeSet::new();
    for raw in parsed.annotations {
        let Some(object): Option<Object> = lines.parse(raw, &mut out.problems) else { continue };
        let Some(&place) = pictures.get(&object.image_id) else {
            let id = object.image_id.to_string();
            lines.report(raw, Trouble::UnknownId { what: "image", id }, &mut out.problems);
            continue;
        };
        let Some(&class) = categories.get(&object.category_id) else {
            let id = object.category_id.to_string();
            lines.report(raw, Trouble::UnknownId { what: "category", id }, &mut out.problems);
            continue;
        };
        if let Some(id) = object.id
            && !used.insert(id.clone())
        {
            lines.report(
                raw,
                Trouble::DuplicateId { what: "annotation", id: id.to_string() },
                &mut out.problems,
            );
            continue;
        }
        let [left, top, width, height] = object.bbox;
        let Some(boxes) = place.and_then(|place| out.items[place].boxes.as_mut()) else { continue };
        boxes.push(RawBox {
            class,
            corners: [left, top, left + width, top + height],
            normalised: false,
            ignore: object.iscrowd.is_set(),
            line: Some(lines.number(raw)),
        });
    }
    Ok(())
}

/// Line numbers of the entries of one file.
struct Lines<'a> {
    file: &'a Path,
    start: usize,
    /// Offsets of the line breaks.
    breaks: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &str, file: &'a Path) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { file, start: text.as_ptr() as usize, breaks }
    }

    fn parse<'de, T: Deserialize<'de>>(&self, raw: &'de RawValue, problems: &mut Problems) -> Option<T> {
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                // The position inside the entry would look like a position in the file.
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
                self.report(raw, Trouble::EntryUnreadable { reason }, problems);
                None
            }
        }
    }

    fn report(&self, raw: &RawValue, trouble: Trouble, problems: &mut Problems) {
        problems.push(self.file, Some(self.number(raw)), trouble);
    }

    /// The line where `raw`, a part of the text, begins.
    fn number(&self, raw: &RawValue) -> usize {
        let offset = (raw.get().as_ptr() as usize).saturating_sub(self.start);
        1 + self.breaks.partition_point(|&at| at < offset)
    }
}

#[cfg(test)]
mod tests;
