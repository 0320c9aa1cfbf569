//! What a weights file says of itself, so that a model can be built from the file alone.

use std::collections::BTreeMap;

/// Texts by key: the preset and the classes, and whatever else is worth knowing (the run, the round).
pub type Metadata = BTreeMap<String, String>;

const PRESET: &str = "preset";
const CLASSES: &str = "classes";

/// Metadata that names the architecture (a preset) and the classes in the order of the class layer's outputs.
pub fn describe(preset: &str, classes: &[String]) -> Metadata {
    let classes = serde_json::Value::from(classes).to_string();
    Metadata::from([(PRESET.to_owned(), preset.to_owned()), (CLASSES.to_owned(), classes)])
}

/// Preset and classes, if the metadata names them.
pub fn described(metadata: &Metadata) -> Option<(String, Vec<String>)> {
    let classes = serde_json::from_str(metadata.get(CLASSES)?).ok()?;
    Some((metadata.get(PRESET)?.clone(), classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back() {
        let classes = ["cat", "a \"dog\", perhaps"].map(String::from);
        let metadata = describe("small256@320", &classes);
        assert_eq!(described(&metadata), Some(("small256@320".to_owned(), classes.to_vec())));
        assert_eq!(described(&Metadata::new()), None);
    }
}
