//! One VOC xml file.

use quick_xml::Reader;
use quick_xml::events::Event;

/// What one file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Annotation {
    /// The image it says it is about; often stale.
    pub(super) filename: Option<String>,
    /// Width and height as stated, zero if not; often wrong.
    pub(super) size: (u32, u32),
    pub(super) objects: Vec<Object>,
}

/// One `<object>`.
#[derive(Debug, PartialEq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) difficult: bool,
    /// `xmin, ymin, xmax, ymax` as written, or what is wrong with them.
    pub(super) corners: Result<[f64; 4], String>,
    pub(super) line: usize,
}

/// An object while its fields arrive, in any order.
#[derive(Default)]
struct Fields {
    name: String,
    difficult: bool,
    corners: [Option<String>; 4],
    line: usize,
}

const CORNERS: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];

/// Reads a whole file.
///
/// Only direct children count: `<part>` inside `<object>` has a name and a box of its own.
pub(super) fn parse(text: &str) -> Result<Annotation, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader::from_str(text);
    let mut out = Annotation::default();
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut fields = Fields::default();
    let mut complete = false;
    let line_at = |position: u64| 1 + text.bytes().take(position as usize).filter(|&b| b == b'\n').count();
    loop {
        match reader.read_event() {
            Err(error) => return Err(format!("line {}: {error}", line_at(reader.error_position()))),
            Ok(Event::Start(tag)) => {
                path.push(tag.local_name().as_ref().to_owned());
                content.clear();
                if path.len() == 1 && path[0] != "annotation" {
                    return Err(format!("root is <{}>, expected <annotation>", path[0]));
                }
                if is(&path, &["annotation", "object"]) {
                    fields = Fields { line: line_at(reader.buffer_position()), ..Fields::default() };
                }
            }
            // `<name/>` has no content and changes nothing; an empty file `<annotation/>` is a negative.
            Ok(Event::Empty(tag)) => complete |= path.is_empty() && tag.local_name().as_ref() == "annotation",
            Ok(Event::Text(part)) => content.push_str(&part.xml10_content()),
            Ok(Event::CData(part)) => content.push_str(&part.xml10_content()),
            Ok(Event::GeneralRef(reference)) => match reference.resolve_char_ref() {
                Ok(Some(character)) => content.push(character),
                Ok(None) => {
                    content.push_str(quick_xml::escape::resolve_xml_entity(&reference).unwrap_or_default())
                }
                Err(error) => return Err(error.to_string()),
            },
            Ok(Event::End(_)) => {
                let value = content.trim();
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                match names.as_slice() {
                    ["annotation", "filename"] => {
                        out.filename = (!value.is_empty()).then(|| value.to_owned())
                    }
                    ["annotation", "size", "width"] => out.size.0 = number(value).map_or(0, |v| v as u32),
                    ["annotation", "size", "height"] => out.size.1 = number(value).map_or(0, |v| v as u32),
                    ["annotation", "object", "name"] => fields.name = value.to_owned(),
                    ["annotation", "object", "difficult"] => {
                        fields.difficult =
                            number(value).is_some_and(|v| v != 0.0) || value.eq_ignore_ascii_case("true");
                    }
                    ["annotation", "object", "bndbox", corner] => {
                        if let Some(index) = CORNERS.iter().position(|name| name == corner) {
                            fields.corners[index] = Some(value.to_owned());
                        }
                    }
                    ["annotation", "object"] => out.objects.push(std::mem::take(&mut fields).finish()),
                    ["annotation"] => complete = true,
                    _ => {}
                }
                content.clear();
                path.pop();
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
        }
    }
    if !complete || !path.is_empty() {
        return Err("ends in the middle, expected </annotation>".to_owned());
    }
    Ok(out)
}

impl Fields {
    fn finish(self) -> Object {
        let Self { name, difficult, corners, line } = self;
        let mut values = [0.0; 4];
        let mut wrong = name.is_empty().then(|| "object without a name".to_owned());
        for ((value, text), corner) in values.iter_mut().zip(corners).zip(CORNERS) {
            match text.as_deref().map(number) {
                Some(Some(parsed)) => *value = parsed,
                Some(None) => {
                    wrong = Some(format!("{corner} is {:?}, expected a number", text.unwrap_or_default()))
                }
                None => wrong = wrong.or_else(|| Some(format!("object without {corner}"))),
            }
        }
        Object { name, difficult, corners: wrong.map_or(Ok(values), Err), line }
    }
}

fn is(path: &[String], names: &[&str]) -> bool {
    path.len() == names.len() && path.iter().zip(names).all(|(a, b)| a == b)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|v: &f64| v.is_finite())
}
