//! Pascal VOC xml: one file for each image, in `Annotations/` beside `JPEGImages/`, or next to the image.
//!
//! Corners are pixel indices counted from 1 and belong to the box, so the continuous box is
//! `xmin - 1, ymin - 1, xmax, ymax`. Difficult objects are ignored, neither learned nor counted as missed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{
    Format, RawBox, RawDataset, RawItem, Reader, SNIFF_FILES_MAX, name_list, path_in_split, read_text,
};
use crate::folder::{Folder, Lookup};
use crate::open::OpenError;
use crate::problem::{Problems, Trouble};

mod xml;

use xml::{Annotation, parse};

pub(super) const READER: Reader =
    Reader { format: Format::Voc, about: "VOC xml files (one <annotation> for each image)", evidence, read };

fn evidence(folder: &Folder) -> Vec<PathBuf> {
    let files = || folder.ending(&["xml"]);
    if files().take(SNIFF_FILES_MAX).any(|file| is_annotation(&folder.root.join(file))) {
        files().map(Path::to_path_buf).collect()
    } else {
        Vec::new()
    }
}

/// Looks at the first kilobyte only.
fn is_annotation(path: &Path) -> bool {
    let mut start = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return false };
    if file.take(1024).read_to_end(&mut start).is_err() {
        return false;
    }
    let tag = b"<annotation";
    start.windows(tag.len() + 1).any(|window| {
        window.starts_with(tag) && (window[tag.len()] == b'>' || window[tag.len()].is_ascii_whitespace())
    })
}

fn read(folder: &Folder, files: &[PathBuf], split: Option<&str>) -> Result<RawDataset, OpenError> {
    let folder = &pictures_only(folder);
    let mut problems = Problems::default();
    let parsed: Vec<(&PathBuf, Result<Annotation, String>)> =
        files.iter().map(|file| (file, read_text(folder, file).and_then(|text| parse(&text)))).collect();

    let listed = split.map(|split| split_names(folder, files, split)).transpose()?;
    let wanted = |file: &Path| match &listed {
        None => true,
        Some(Listed::Names { names, .. }) => names.contains(&stem(file)),
        Some(Listed::Files(chosen)) => chosen.contains(file),
    };

    let (classes, classes_file) = class_names(folder, &parsed)?;
    let index: BTreeMap<&str, usize> =
        classes.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)).collect();

    let mut items = Vec::new();
    let mut found = BTreeSet::new();
    for (file, result) in parsed {
        if !wanted(file) {
            continue;
        }
        let (annotation, readable) = match result {
            Ok(annotation) => (annotation, true),
            Err(reason) => {
                problems.push(file, None, Trouble::LabelsUnreadable { reason });
                (Annotation::default(), false)
            }
        };
        found.insert(stem(file));
        let Some(image) = find_image(folder, file, &annotation, &mut problems) else { continue };
        let stated = annotation.size;
        let boxes = annotation.objects.into_iter().filter_map(|object| match object.corners {
            Ok([xmin, ymin, xmax, ymax]) => Some(RawBox {
                class: *index.get(object.name.as_str())?,
                corners: [xmin - 1.0, ymin - 1.0, xmax, ymax],
                normalised: false,
                ignore: object.difficult,
                line: Some(object.line),
            }),
            Err(reason) => {
                problems.push(file, Some(object.line), Trouble::EntryUnreadable { reason });
                None
            }
        });
        let boxes = readable.then(|| boxes.collect());
        items.push(RawItem { image, label: file.clone(), stated, boxes });
    }
    add_unlabelled(folder, listed.as_ref(), &found, &mut items, &mut problems);
    Ok(RawDataset { classes, classes_file, items, problems })
}

/// Segmentation masks have the names of the photographs: where there is a `JPEGImages`, only its files count.
fn pictures_only(folder: &Folder) -> Folder {
    let inside =
        |image: &Path| image.components().any(|part| part.as_os_str().eq_ignore_ascii_case("JPEGImages"));
    let standard = folder.images.iter().any(|image| inside(image));
    folder.with_images(|image| !standard || inside(image))
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// `classes.txt` in the data folder if there is one, then the names in the labels of all splits, sorted: every split,
/// and every client with the same classes, gets the same order.
fn class_names(
    folder: &Folder,
    parsed: &[(&PathBuf, Result<Annotation, String>)],
) -> Result<(Vec<String>, PathBuf), OpenError> {
    let file = PathBuf::from("classes.txt");
    let mut classes = Vec::new();
    if folder.files.binary_search(&file).is_ok() {
        let text =
            read_text(folder, &file).map_err(|reason| OpenError::BadLabels { file: file.clone(), reason })?;
        classes = name_list(&text);
    }
    let used: BTreeSet<&str> = parsed
        .iter()
        .filter_map(|(_, result)| result.as_ref().ok())
        .flat_map(|annotation| &annotation.objects)
        .filter(|object| object.corners.is_ok())
        .map(|object| object.name.as_str())
        .collect();
    let missing: Vec<String> = used
        .into_iter()
        .filter(|name| !classes.iter().any(|known| known == name))
        .map(str::to_owned)
        .collect();
    classes.extend(missing);
    Ok((classes, file))
}

/// The image with the name of the xml file, as most tools pair them; else the one it names.
fn find_image(
    folder: &Folder,
    file: &Path,
    annotation: &Annotation,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let near = file.parent().unwrap_or(Path::new(""));
    let mut lookup = folder.image_of_label(file);
    let mut image = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let (Lookup::Missing, Some(name)) = (&lookup, &annotation.filename) {
        lookup = folder.image_named(name, near);
        image.clone_from(name);
    }
    let trouble = match lookup {
        Lookup::Found(path) => return Some(path.to_path_buf()),
        Lookup::Missing => Trouble::ImageMissing { image },
        Lookup::Ambiguous(first, second) => {
            Trouble::ImageAmbiguous { image, first: first.to_path_buf(), second: second.to_path_buf() }
        }
    };
    problems.push(file, None, trouble);
    None
}

/// Which label files belong to a split.
enum Listed {
    /// Lower-case names without ending, with the name as written, from a list in `ImageSets`.
    Names { list: PathBuf, names: BTreeSet<String>, written: Vec<String> },
    /// Label files in a folder of that name.
    Files(BTreeSet<PathBuf>),
}

fn split_names(folder: &Folder, files: &[PathBuf], split: &str) -> Result<Listed, OpenError> {
    let lists: Vec<&Path> = folder
        .ending(&["txt"])
        .filter(|file| file.components().any(|part| part.as_os_str().eq_ignore_ascii_case("ImageSets")))
        .collect();
    // `Main` before `Layout` and `Segmentation`, which list other tasks.
    let named = |list: &&&Path| list.file_stem().is_some_and(|stem| stem == split);
    let main =
        lists.iter().filter(named).find(|list| list.components().any(|part| part.as_os_str() == "Main"));
    if let Some(list) = main.or_else(|| lists.iter().find(named)) {
        let text = read_text(folder, list)
            .map_err(|reason| OpenError::BadLabels { file: list.to_path_buf(), reason })?;
        let written: Vec<String> = name_list(&text)
            .into_iter()
            .map(|line| without_flag(&line).to_owned())
            .filter(|n| !n.is_empty())
            .collect();
        let names = written.iter().map(|name| listed_stem(name)).collect();
        return Ok(Listed::Names { list: list.to_path_buf(), names, written });
    }
    let chosen: BTreeSet<PathBuf> = files.iter().filter(|f| path_in_split(f, split)).cloned().collect();
    if !chosen.is_empty() {
        return Ok(Listed::Files(chosen));
    }
    let mut found: Vec<String> = lists.iter().map(|list| list.display().to_string()).collect();
    found.truncate(10);
    let found = if found.is_empty() { "no list in ImageSets/Main".to_owned() } else { found.join(", ") };
    Err(OpenError::NoSuchSplit { dir: folder.root.clone(), split: split.to_owned(), found })
}

/// Lists of one class have a second column, 1, 0 or -1; names may contain blanks.
fn without_flag(line: &str) -> &str {
    match line.rsplit_once(char::is_whitespace) {
        Some((name, "1" | "0" | "-1")) => name.trim_end(),
        _ => line,
    }
}

/// Names are listed without ending, but not by everyone; dots inside names are no ending.
fn listed_stem(name: &str) -> String {
    let path = Path::new(name);
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if matches!(ending.as_str(), "jpg" | "jpeg" | "png" | "xml") {
        stem(path)
    } else {
        path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
    }
}

/// Images without xml: all of the folder, or those on the list.
fn add_unlabelled(
    folder: &Folder,
    listed: Option<&Listed>,
    found: &BTreeSet<String>,
    items: &mut Vec<RawItem>,
    problems: &mut Problems,
) {
    let known: BTreeSet<PathBuf> = items.iter().map(|item| item.image.clone()).collect();
    let unlabelled =
        |image: &Path| RawItem { image: image.into(), label: image.into(), stated: (0, 0), boxes: None };
    match listed {
        None => {
            let rest =
                folder.images.iter().filter(|image| !known.contains(*image) && !found.contains(&stem(image)));
            items.extend(rest.map(|image| unlabelled(image)));
        }
        Some(Listed::Names { list, names, written }) => {
            let missing = written.iter().zip(1..).filter(|(name, _)| !found.contains(&listed_stem(name)));
            for (name, line) in missing {
                match folder.image_of_label(Path::new(&format!("{}.xml", listed_stem(name)))) {
                    Lookup::Found(image) => items.push(unlabelled(image)),
                    _ => problems.push(list, Some(line), Trouble::ListedMissing { name: name.clone() }),
                }
            }
            debug_assert!(names.len() <= written.len());
        }
        Some(Listed::Files(_)) => {}
    }
}

#[cfg(test)]
mod tests;
