use std::path::Path;

use super::*;

#[test]
fn every_shipped_scenario_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let parsed = Scenario::parse(&text, Some(3));
        assert_eq!(parsed.unwrap().run.settings().seed, 3, "{}", entry.path().display());
        found += 1;
    }
    assert!(found >= 3);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (text, expected) in [
        ("[run]\nrounds = 0", "run.rounds is 0"),
        ("[devices]\ndrop_out = 2.0", "devices.drop_out is 2"),
        ("[data]\nsource = \"folder\"", "data.folder is missing"),
        ("[data]\nlabel_skew = 7.0", "data.label_skew is 7"),
        ("[data]\nimage = 7", "unknown field `image`"),
    ] {
        let refused = Scenario::parse(text, None).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}
