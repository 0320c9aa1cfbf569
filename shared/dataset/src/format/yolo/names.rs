//! Class names of a YOLO folder: `data.yaml`, `classes.txt` or `obj.names`.
//!
//! Of YAML only what such files contain is understood: `key: value` lines, and `names` as a list or map in either
//! style. A YAML library would be the largest dependency of this crate for eight lines of text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::format::{name_list, read_text};
use crate::open::OpenError;

/// What a class list says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    pub(super) classes: Vec<String>,
    pub(super) file: PathBuf,
    /// `train`, `val`, `test` with the folder or list they name.
    pub(super) splits: Vec<(String, String)>,
    /// Whether each line holds key points after its box.
    pub(super) key_points: bool,
}

/// Most classes: a map may say `999999999: car`.
const CLASSES_MAX: usize = 100_000;

/// Finds and reads the class list; `None` if there is none.
pub(super) fn class_names(folder: &Folder) -> Result<Option<Names>, OpenError> {
    for file in folder.ending(&["yaml", "yml"]) {
        let bad = |reason| OpenError::BadLabels { file: file.to_path_buf(), reason };
        let text = read_text(folder, file).map_err(bad)?;
        if let Some(names) = parse_yaml(&text).map_err(bad)? {
            return Ok(Some(Names { file: file.to_path_buf(), ..names }));
        }
    }
    let is_list = |file: &&Path| {
        let name = file.file_name().unwrap_or_default();
        name == "classes.txt" || name == "obj.names" || name == "classes.names"
    };
    let Some(file) = folder.ending(&["txt", "names"]).find(is_list) else { return Ok(None) };
    let text = read_text(folder, file)
        .map_err(|reason| OpenError::BadLabels { file: file.to_path_buf(), reason })?;
    Ok(Some(Names { classes: name_list(&text), file: file.to_path_buf(), ..Names::default() }))
}

/// `None` if the file has no `names`.
pub(super) fn parse_yaml(text: &str) -> Result<Option<Names>, String> {
    let mut names = Names::default();
    let mut classes = None;
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(without_comment).peekable();
    while let Some(line) = lines.next() {
        // Only keys of the outermost level.
        if line.starts_with(char::is_whitespace) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "names" if value.is_empty() => {
                let mut entries = Vec::new();
                while let Some(entry) = lines
                    .next_if(|l| l.is_empty() || l.starts_with(char::is_whitespace) || l.starts_with('-'))
                {
                    if !entry.trim().is_empty() {
                        entries.push(entry.trim().to_owned());
                    }
                }
                classes = Some(block(&entries)?);
            }
            "names" => {
                let mut flow = value.to_owned();
                while !flow.ends_with([']', '}']) {
                    let Some(more) = lines.next() else {
                        return Err("names: the list is not closed".to_owned());
                    };
                    flow.push(' ');
                    flow.push_str(more.trim());
                }
                classes = Some(flow_style(&flow)?);
            }
            key @ ("train" | "val" | "valid" | "test") if !value.is_empty() => {
                names.splits.push((key.to_owned(), unquoted(value)));
            }
            "kpt_shape" => names.key_points = true,
            _ => {}
        }
    }
    let Some(classes) = classes else { return Ok(None) };
    if classes.is_empty() {
        return Err("names: the list is empty".to_owned());
    }
    names.classes = classes;
    Ok(Some(names))
}

/// A `#` begins a comment at the start of a line or after a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '\'' || character == '"' => quote = Some(character),
            None if character == '#' && before.is_whitespace() => return line[..at].trim_end(),
            None => {}
        }
        before = character;
    }
    line.trim_end()
}

/// `- car` lines or `0: car` lines.
fn block(entries: &[String]) -> Result<Vec<String>, String> {
    if entries.iter().all(|entry| entry.starts_with('-')) {
        return Ok(entries.iter().map(|entry| unquoted(entry[1..].trim())).collect());
    }
    map(entries.iter().map(String::as_str))
}

/// `[car, bus]` or `{0: car, 1: bus}`, perhaps quoted.
fn flow_style(text: &str) -> Result<Vec<String>, String> {
    let inside = |open, close| text.strip_prefix(open).and_then(|t| t.strip_suffix(close));
    if let Some(list) = inside('[', ']') {
        return Ok(split_flow(list).into_iter().map(unquoted).collect());
    }
    match inside('{', '}') {
        Some(list) => map(split_flow(list).into_iter()),
        None => Err(format!("names: {text:?}, expected a list or a map")),
    }
}

/// Splits at commas outside quotes. A comma after the last entry adds none.
fn split_flow(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote = None;
    let mut start = 0;
    for (at, character) in text.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            // An apostrophe inside a word is no quote.
            None if matches!(character, '\'' | '"') && value_begins(&text[start..at]) => {
                quote = Some(character);
            }
            None if character == ',' => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            None => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

/// Whether a quote after this text opens a quoted value.
fn value_begins(before: &str) -> bool {
    let before = before.trim();
    before.is_empty() || before.ends_with(':')
}

fn map<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let mut names = BTreeMap::new();
    for entry in entries {
        let (key, value) =
            entry.split_once(':').ok_or_else(|| format!("names: {entry:?}, expected index: name"))?;
        let index: usize =
            unquoted(key.trim()).parse().map_err(|_| format!("names: {key:?}, expected a class index"))?;
        if index >= CLASSES_MAX {
            return Err(format!("names: class index {index}, at most {} allowed", CLASSES_MAX - 1));
        }
        names.insert(index, unquoted(value.trim()));
    }
    let count = names.last_key_value().map_or(0, |(index, _)| index + 1);
    // A hole in the numbers keeps its place under its number.
    Ok((0..count).map(|index| names.remove(&index).unwrap_or_else(|| format!("class {index}"))).collect())
}

fn unquoted(text: &str) -> String {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            let doubled = format!("{quote}{quote}");
            return inner.replace(&doubled, &quote.to_string());
        }
    }
    text.to_owned()
}
