//! YOLO txt: one file for each image, in `labels/` mirroring `images/`, or next to the image.
//!
//! A line is `class cx cy w h`, normalised to the image. An empty file says that the image shows no object; a missing
//! file says nothing. Longer lines are segments (`class x y x y ...`), boxes with a score, or boxes with key points.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Format, RawBox, RawDataset, RawItem, Reader, SNIFF_FILES_MAX, path_in_split, read_text};
use crate::folder::{Folder, Lookup};
use crate::open::OpenError;
use crate::problem::{Problems, Trouble};

mod names;

use names::{Names, class_names};

pub(super) const READER: Reader = Reader {
    format: Format::Yolo,
    about: "YOLO txt files (one for each image, with class names)",
    evidence,
    read,
};

/// How far outside 0..1 a value may lie before the line is taken for something that is not normalised.
const NORMALISED_TOLERANCE: f64 = 0.5;

fn evidence(folder: &Folder) -> Vec<PathBuf> {
    let labels: Vec<PathBuf> = pairs(folder).into_iter().filter_map(|(_, label)| label).collect();
    let texts = labels.iter().take(SNIFF_FILES_MAX).map(|label| read_text(folder, label));
    // Captions and licences also end in .txt.
    let is_label =
        |line: &str| [false, true].iter().any(|&pose| matches!(parse_line(line, pose), Ok(Some(_))));
    let mut numbers = false;
    let mut filled = false;
    for text in texts.flatten().filter(|text| !text.trim().is_empty()) {
        filled = true;
        numbers |= text.lines().any(is_label);
    }
    let only_negatives =
        !filled && !labels.is_empty() && class_names(folder).is_ok_and(|names| names.is_some());
    if numbers || only_negatives { labels } else { Vec::new() }
}

/// Every image with its label file, if it has one.
fn pairs(folder: &Folder) -> Vec<(&Path, Option<PathBuf>)> {
    let texts: BTreeSet<&Path> = folder.ending(&["txt"]).collect();
    let label_of = |image: &Path| {
        let beside = image.with_extension("txt");
        mirrored(image).into_iter().chain([beside]).find(|label| texts.contains(label.as_path()))
    };
    folder.images.iter().map(|image| (image.as_path(), label_of(image))).collect()
}

/// `a/images/b/c.jpg` has its labels in `a/labels/b/c.txt`; the last `images` in the path counts.
fn mirrored(image: &Path) -> Option<PathBuf> {
    let parts: Vec<Component<'_>> = image.components().collect();
    let folders = parts.len().saturating_sub(1);
    let at = parts[..folders].iter().rposition(|part| part.as_os_str() == "images")?;
    let path: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(i, part)| if i == at { "labels".as_ref() } else { part.as_os_str() })
        .collect();
    Some(path.with_extension("txt"))
}

fn read(folder: &Folder, _labels: &[PathBuf], split: Option<&str>) -> Result<RawDataset, OpenError> {
    let Some(names) = class_names(folder)? else {
        return Err(OpenError::NoClassNames { dir: folder.root.clone() });
    };
    let chosen = split.map(|split| images_of_split(folder, &names, split)).transpose()?;
    let mut problems = Problems::default();
    let mut items = Vec::new();
    let pairs = pairs(folder);
    report_orphans(folder, &pairs, &mut problems);
    for (image, label) in pairs {
        if chosen.as_ref().is_some_and(|chosen| !chosen.contains(image)) {
            continue;
        }
        let boxes = label.as_ref().and_then(|label| read_labels(folder, label, &names, &mut problems));
        let label = label.unwrap_or_else(|| image.to_path_buf());
        items.push(RawItem { image: image.to_path_buf(), label, stated: (0, 0), boxes });
    }
    Ok(RawDataset { classes: names.classes, classes_file: names.file, items, problems })
}

/// The images of a split: the entry of `data.yaml` (a folder or a list of files), else those with the word in their
/// path.
fn images_of_split(folder: &Folder, names: &Names, split: &str) -> Result<BTreeSet<PathBuf>, OpenError> {
    let keys: &[&str] = if split == "trainval" { &["train", "val"] } else { &[split] };
    let mut chosen = BTreeSet::new();
    for entry in
        keys.iter().filter_map(|key| names.splits.iter().find(|(name, _)| super::same_split(key, name)))
    {
        // Paths are relative to the yaml file or to its `path`; only their ends are compared.
        let wanted = Path::new(entry.1.trim_start_matches("./").trim_start_matches("../"));
        if let Some(list) =
            folder.ending(&["txt"]).find(|file| wanted.ends_with(file) || file.ends_with(wanted))
        {
            let text = read_text(folder, list)
                .map_err(|reason| OpenError::BadLabels { file: list.into(), reason })?;
            let images = text.lines().map(str::trim).filter(|line| !line.is_empty());
            chosen.extend(images.filter_map(|line| match folder.image_named(line, Path::new("")) {
                Lookup::Found(image) => Some(image.to_path_buf()),
                _ => None,
            }));
        } else {
            let inside = |image: &&PathBuf| image.ancestors().skip(1).any(|dir| dir.ends_with(wanted));
            chosen.extend(folder.images.iter().filter(inside).cloned());
        }
    }
    if chosen.is_empty() {
        chosen.extend(
            folder
                .images
                .iter()
                .filter(|image| image.parent().is_some_and(|dir| path_in_split(&dir.join("x"), split)))
                .cloned(),
        );
    }
    if chosen.is_empty() {
        let found: Vec<&str> = names.splits.iter().map(|(name, _)| name.as_str()).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        return Err(OpenError::NoSuchSplit { dir: folder.root.clone(), split: split.to_owned(), found });
    }
    Ok(chosen)
}

/// `None` when nothing of a filled file can be read: its image is unlabelled, not a negative.
fn read_labels(folder: &Folder, file: &Path, names: &Names, problems: &mut Problems) -> Option<Vec<RawBox>> {
    let text = match read_text(folder, file) {
        Ok(text) => text,
        Err(reason) => {
            problems.push(file, None, Trouble::LabelsUnreadable { reason });
            return None;
        }
    };
    let mut boxes = Vec::new();
    let mut failed = 0;
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        let parsed = parse_line(line, names.key_points).and_then(|parsed| match parsed {
            Some((class, _)) if class >= names.classes.len() => {
                Err(format!("class {class}, but the list has {} names", names.classes.len()))
            }
            other => Ok(other),
        });
        match parsed {
            Ok(None) => {}
            Ok(Some((class, corners))) => {
                boxes.push(RawBox { class, corners, normalised: true, ignore: false, line: Some(number) });
            }
            Err(reason) => {
                failed += 1;
                problems.push(file, Some(number), Trouble::EntryUnreadable { reason });
            }
        }
    }
    (failed == 0 || !boxes.is_empty()).then_some(boxes)
}

/// Class and corners of one line, `None` for a blank one.
fn parse_line(line: &str, key_points: bool) -> Result<Option<(usize, [f64; 4])>, String> {
    let mut fields = line.split_ascii_whitespace();
    let Some(class) = fields.next() else { return Ok(None) };
    let class = class
        .parse::<f64>()
        .ok()
        .filter(|c| c.fract() == 0.0 && (0.0..=1e6).contains(c))
        .ok_or_else(|| format!("class {class:?}, expected a whole number"))? as usize;
    let values: Vec<f64> = fields
        .map(|field| field.parse().map_err(|_| format!("{field:?}, expected a number")))
        .collect::<Result<_, _>>()?;
    let is_box = key_points && values.len() >= 4 || matches!(values.len(), 4 | 5);
    let is_segment = values.len() >= 6 && values.len().is_multiple_of(2);
    // 5 + 3k columns without a declaration: a box and k key points with visibility.
    let is_pose = values.len() > 4 && (values.len() - 4).is_multiple_of(3);
    let geometry = if is_box || !is_segment { &values[..values.len().min(4)] } else { &values[..] };
    if !(is_box || is_segment || is_pose) {
        return Err(format!(
            "{} columns, expected class cx cy w h or class x y x y x y ...",
            values.len() + 1
        ));
    }
    if let Some(value) =
        geometry.iter().find(|v| !(-NORMALISED_TOLERANCE..=1.0 + NORMALISED_TOLERANCE).contains(*v))
    {
        return Err(format!("{value} is not normalised, expected 0 to 1"));
    }
    if let (true, [cx, cy, w, h]) = (is_box || !is_segment, geometry) {
        return Ok(Some((class, [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0])));
    }
    let bound = |axis: usize, pick: fn(f64, f64) -> f64, start: f64| {
        geometry.iter().skip(axis).step_by(2).copied().fold(start, pick)
    };
    let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
    Ok(Some((
        class,
        [
            bound(0, f64::min, low),
            bound(1, f64::min, low),
            bound(0, f64::max, high),
            bound(1, f64::max, high),
        ],
    )))
}

/// Label files in `labels/` without an image.
fn report_orphans(folder: &Folder, pairs: &[(&Path, Option<PathBuf>)], problems: &mut Problems) {
    let paired: BTreeSet<&Path> = pairs.iter().filter_map(|(_, label)| label.as_deref()).collect();
    let in_labels =
        |file: &&Path| file.parent().is_some_and(|dir| dir.components().any(|p| p.as_os_str() == "labels"));
    for file in folder.ending(&["txt"]).filter(in_labels) {
        if !paired.contains(file) && file.file_name().is_some_and(|name| name != "classes.txt") {
            let image = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            problems.push(file, None, Trouble::ImageMissing { image });
        }
    }
}

#[cfg(test)]
mod tests;
