//! The files of a data folder, and which image a label means.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::open::OpenError;

/// Most files listed in one data folder.
const FILES_MAX: usize = 2_000_000;
/// Deepest folder followed below the data folder; ends loops of symbolic links.
const DEPTH_MAX: usize = 8;
/// Everything a user would call an image, so that one of an unsupported kind is reported and not overlooked.
const IMAGE_ENDINGS: &[&str] =
    &["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "tif", "tiff", "heic", "avif"];

/// A listing of one data folder. All paths are relative to `root` and sorted.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) images: Vec<PathBuf>,
    by_name: BTreeMap<String, Vec<usize>>,
    by_stem: BTreeMap<String, Vec<usize>>,
}

/// The image that a label refers to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    Found(&'a Path),
    Missing,
    Ambiguous(&'a Path, &'a Path),
}

impl Folder {
    pub(crate) fn list(root: &Path) -> Result<Self, OpenError> {
        let metadata = std::fs::metadata(root).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => OpenError::MissingFolder { dir: root.to_path_buf() },
            _ => OpenError::Unreadable { path: root.to_path_buf(), source },
        })?;
        if !metadata.is_dir() {
            return Err(OpenError::NotAFolder { path: root.to_path_buf() });
        }
        let mut files = Vec::new();
        walk(root, Path::new(""), 0, &mut files)?;
        files.sort_unstable();
        let images: Vec<PathBuf> = files.iter().filter(|f| has_ending(f, IMAGE_ENDINGS)).cloned().collect();
        Ok(Self::new(root.to_path_buf(), files, images))
    }

    fn new(root: PathBuf, files: Vec<PathBuf>, images: Vec<PathBuf>) -> Self {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut by_stem: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, image) in images.iter().enumerate() {
            by_name.entry(folded(image.file_name())).or_default().push(index);
            by_stem.entry(folded(image.file_stem())).or_default().push(index);
        }
        Self { root, files, images, by_name, by_stem }
    }

    /// The same folder with only those images for which `keep` holds.
    pub(crate) fn with_images(&self, keep: impl Fn(&Path) -> bool) -> Self {
        let images = self.images.iter().filter(|i| keep(i)).cloned().collect();
        Self::new(self.root.clone(), self.files.clone(), images)
    }

    /// Files ending in one of `endings` (lower case, without dot).
    pub(crate) fn ending<'a>(&'a self, endings: &'a [&str]) -> impl Iterator<Item = &'a Path> {
        self.files.iter().map(PathBuf::as_path).filter(move |f| has_ending(f, endings))
    }

    /// The image called `reference` in a label file lying in `near`: a bare name, or a path of which as many folders
    /// as possible match. Only files of the listing are ever answered, so `../../secret` leads nowhere.
    pub(crate) fn image_named(&self, reference: &str, near: &Path) -> Lookup<'_> {
        let reference = PathBuf::from(reference.replace('\\', "/"));
        let candidates = self.by_name.get(&folded(reference.file_name()));
        self.best(candidates, &reference, near)
    }

    /// The image with the same name as a label file except for the ending, nearest to the label file.
    pub(crate) fn image_of_label(&self, label: &Path) -> Lookup<'_> {
        let candidates = self.by_stem.get(&folded(label.file_stem()));
        self.best(candidates, Path::new(""), label.parent().unwrap_or(Path::new("")))
    }

    /// Prefers the longest common end with `reference`, then the longest common beginning with `near`, then fewer
    /// folders.
    fn best(&self, candidates: Option<&Vec<usize>>, reference: &Path, near: &Path) -> Lookup<'_> {
        let key = |&index: &usize| {
            let image = &self.images[index];
            let place = image.parent().unwrap_or(Path::new(""));
            let ends = common(reference.components().rev(), image.components().rev());
            let begins = common(near.components(), place.components());
            Reverse((ends, begins, Reverse(place.components().count())))
        };
        let mut ranked: Vec<usize> = candidates.into_iter().flatten().copied().collect();
        ranked.sort_by_key(key);
        match ranked.as_slice() {
            [] => Lookup::Missing,
            [first, second, ..] if key(first) == key(second) => {
                Lookup::Ambiguous(&self.images[*first], &self.images[*second])
            }
            [first, ..] => Lookup::Found(&self.images[*first]),
        }
    }
}

fn common<'a>(a: impl Iterator<Item = Component<'a>>, b: impl Iterator<Item = Component<'a>>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// Lower case, because labels written on one system often meet `.JPG` files from another.
fn folded(name: Option<&std::ffi::OsStr>) -> String {
    name.map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn has_ending(file: &Path, endings: &[&str]) -> bool {
    let ending = folded(file.extension());
    endings.contains(&ending.as_str())
}

/// Depth first. Hidden files (`.git`, `._copy.jpg` of other systems) are no data; symbolic links are followed.
fn walk(root: &Path, inside: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), OpenError> {
    let dir = root.join(inside);
    let unreadable = |source| OpenError::Unreadable { path: dir.clone(), source };
    for entry in std::fs::read_dir(&dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX" {
            continue;
        }
        let path = inside.join(&name);
        // A dangling link is no file.
        let Ok(metadata) = std::fs::metadata(root.join(&path)) else { continue };
        if metadata.is_dir() {
            if depth < DEPTH_MAX {
                walk(root, &path, depth + 1, files)?;
            }
        } else if files.len() < FILES_MAX {
            files.push(path);
        } else {
            return Err(OpenError::TooManyFiles { dir: root.to_path_buf(), limit: FILES_MAX });
        }
    }
    Ok(())
}
