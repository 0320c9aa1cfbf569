use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::boxes::BBox;
use crate::decode::Detection;

const DETECTIONS: &str = include_str!("../../tests/golden/detections.json");
const ANNOTATIONS: &str = include_str!("../../tests/golden/annotations.json");
const EXPECTED: &str = include_str!("../../tests/golden/expected.json");

#[track_caller]
fn check_close(what: &str, found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() < 1e-6, "{what}: {found}, pycocotools has {expected}");
}

#[test]
fn equals_pycocotools_on_the_golden_fixture() {
    let report = score_json(DETECTIONS, ANNOTATIONS).unwrap();
    assert!(report.images >= 100);
    let report = serde_json::to_value(report).unwrap();
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let mut figures = 0;
    for (name, value) in expected.as_object().unwrap() {
        if name == "classes" {
            for (class, of_class) in value.as_object().unwrap() {
                for figure in ["AP", "AP50"] {
                    check_close(
                        &format!("{figure} of {class}"),
                        &report["classes"][class][figure],
                        &of_class[figure],
                    );
                }
            }
        } else {
            check_close(name, &report[name], value);
            figures += 1;
        }
    }
    assert_eq!(figures, 12);
    assert_eq!(report["classes"].as_object().unwrap().len(), expected["classes"].as_object().unwrap().len());
}

#[test]
fn the_order_of_images_and_annotations_does_not_matter() {
    let expected = score_json(DETECTIONS, ANNOTATIONS).unwrap();
    let mut file: Value = serde_json::from_str(ANNOTATIONS).unwrap();
    for part in ["images", "categories"] {
        file[part].as_array_mut().unwrap().reverse();
    }
    assert_eq!(score_json(DETECTIONS, &file.to_string()).unwrap(), expected);
}

fn one_object(id: u32) -> Value {
    json!({
        "images": [{"id": 5}],
        "categories": [{"id": 3, "name": "bus"}],
        "annotations": [{"id": id, "image_id": 5, "category_id": 3, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}],
    })
}

fn detection(image: i64, category: i64, score: f64) -> Value {
    json!({"image_id": image, "category_id": category, "bbox": [10, 10, 40, 40], "score": score})
}

#[track_caller]
fn figures(detections: Value, file: Value) -> CocoReport {
    score_json(&detections.to_string(), &file.to_string()).unwrap()
}

#[test]
fn a_perfect_detection() {
    let report = figures(json!([detection(5, 3, 0.4)]), one_object(1));
    assert_eq!((report.ar1, report.ar100, report.ap_small), (1.0, 1.0, -1.0));
    for ap in [report.ap, report.ap50, report.ap75, report.ap_medium, report.classes["bus"].ap] {
        assert!((ap - 1.0).abs() < 1e-12, "{ap}");
    }
}

#[test]
fn an_annotation_id_of_zero_hides_a_match_as_in_pycocotools() {
    let report = figures(json!([detection(5, 3, 0.4)]), one_object(0));
    assert_eq!((report.ap, report.ar100), (0.0, 0.0));
}

#[test]
fn nothing_detected_scores_zero_and_nothing_annotated_minus_one() {
    assert_eq!(figures(json!([]), one_object(1)).ap, 0.0);
    let mut file = one_object(1);
    file["annotations"] = json!([]);
    let report = figures(json!([detection(5, 3, 0.4)]), file);
    assert_eq!((report.ap, report.ar1, report.classes["bus"].ap50), (-1.0, -1.0, -1.0));
    let empty = figures(json!([]), json!({"images": [], "categories": []}));
    assert_eq!((empty.ap, empty.images, empty.classes.len()), (-1.0, 0, 0));
}

#[test]
fn unlisted_categories_count_for_nothing() {
    let report = figures(json!([detection(5, 3, 0.4), detection(5, 999, 0.9)]), one_object(1));
    assert!((report.ap - 1.0).abs() < 1e-12);
    let mut file = one_object(1);
    let stray =
        json!({"id": 2, "image_id": 5, "category_id": 4, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0});
    file["annotations"].as_array_mut().unwrap().push(stray);
    assert!((figures(json!([detection(5, 3, 0.4)]), file).ap - 1.0).abs() < 1e-12);
}

#[test]
fn missing_area_is_that_of_the_box_and_missing_iscrowd_is_none() {
    let mut file = one_object(1);
    let annotation = file["annotations"][0].as_object_mut().unwrap();
    annotation.remove("area");
    annotation.remove("iscrowd");
    let report = figures(json!([detection(5, 3, 0.4)]), file);
    assert_eq!((report.ap_small, report.ap_large), (-1.0, -1.0));
    assert!((report.ap_medium - 1.0).abs() < 1e-12);
}

#[test]
fn ids_may_be_strings_and_names_may_repeat_or_lack() {
    let file = json!({
        "images": [{"id": "b.jpg"}, {"id": "a.jpg"}],
        "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}, {"id": 7}],
        "annotations": [{"id": "1", "image_id": "a.jpg", "category_id": 2, "bbox": [0, 0, 5, 5]}],
    });
    let detections = json!([{"image_id": "a.jpg", "category_id": 2, "bbox": [0, 0, 5, 5], "score": 1}]);
    let report = figures(detections, file);
    assert_eq!(report.classes.keys().collect::<Vec<_>>(), ["7", "x", "x #2"]);
    assert!((report.classes["x #2"].ap - 1.0).abs() < 1e-12);
}

#[track_caller]
fn refused(detections: &str, annotations: &str, expected: &str) {
    let found = score_json(detections, annotations).unwrap_err().to_string();
    assert!(found.contains(expected), "{found}");
}

#[test]
fn bad_files_are_named() {
    let file = one_object(1).to_string();
    refused("{}", &file, "results in not an array of objects");
    refused("[", &file, "results file: EOF while parsing");
    refused("", &file, "results in not an array of objects");
    refused("[{}]", &file, "results file: missing field `image_id`");
    refused(
        r#"[{"image_id": 5, "category_id": 3, "score": 1, "bbox": [1, 2, 3]}]"#,
        &file,
        "results file: invalid length 3",
    );
    refused(r#"[{"image_id": 5.5}]"#, &file, "expected an id");
    refused("[]", "[]", "annotations file:");
    refused("[]", r#"{"images": []}"#, "annotations file: missing field `categories`");
    let stranger = json!([detection(5, 3, 0.4), detection(6, 3, 0.4)]).to_string();
    refused(&stranger, &file, "Results do not correspond to current coco set: detection 1 is of image 6");
}

#[test]
fn typed_input_is_checked() {
    let mut evaluator = Evaluator::new(&["bus".to_owned()]);
    let bbox = BBox::new(0.0, 0.0, 4.0, 4.0);
    let wrong = Detection { bbox, class: 1, score: 0.5 };
    let refused = evaluator.add_image(&[wrong], &[]).unwrap_err();
    assert_eq!(refused.to_string(), "detection 0: class 1, expected one below 1");
    let nan =
        GroundTruth { bbox: BBox::new(f32::NAN, 0.0, 4.0, 4.0), class: 0, area: None, role: Role::Object };
    assert_eq!(evaluator.add_image(&[], &[nan]).unwrap_err().to_string(), "object 0 is not finite");
    assert_eq!(evaluator.images(), 0);
}

#[test]
fn a_difficult_object_is_matched_once_and_a_crowd_by_all_inside() {
    let bbox = BBox::new(0.0, 0.0, 100.0, 100.0);
    let inside = |x: f32, score| Detection { bbox: BBox::new(x, 0.0, x + 20.0, 20.0), class: 0, score };
    let whole = |score| Detection { bbox, class: 0, score };
    let object =
        GroundTruth { bbox: BBox::new(200.0, 0.0, 220.0, 20.0), class: 0, area: None, role: Role::Object };
    let ap50 = |role, detections: &[Detection]| {
        let mut evaluator = Evaluator::new(&["bus".to_owned()]);
        let region = GroundTruth { bbox, class: 0, area: None, role };
        evaluator.add_image(detections, &[region, object]).unwrap();
        evaluator.report().ap50
    };
    // Two better scored detections inside the region before the right one: ignored, or wrong.
    let in_crowd = [inside(0.0, 0.9), inside(30.0, 0.8), inside(200.0, 0.7)];
    assert!((ap50(Role::Crowd, &in_crowd) - 1.0).abs() < 1e-9);
    assert!((ap50(Role::Difficult, &in_crowd) - 1.0 / 3.0).abs() < 1e-9);
    let on_it = [whole(0.9), whole(0.8), inside(200.0, 0.7)];
    assert!((ap50(Role::Crowd, &on_it) - 1.0).abs() < 1e-9);
    assert!((ap50(Role::Difficult, &on_it) - 0.5).abs() < 1e-9);
}

/// Whole coordinates and few scores: ties everywhere, and single precision loses nothing.
fn image() -> impl Strategy<Value = (Vec<Detection>, Vec<GroundTruth>)> {
    let bbox = || {
        (0_u8..60, 0_u8..60, 0_u8..50, 0_u8..50)
            .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h].map(f32::from)))
    };
    let detection = (bbox(), 0_u32..3, 0_u8..6).prop_map(|(bbox, class, score)| Detection {
        bbox,
        class,
        score: f32::from(score) / 8.0,
    });
    let truth = (bbox(), 0_u32..3, any::<bool>()).prop_map(|(bbox, class, crowd)| GroundTruth {
        bbox,
        class,
        area: None,
        role: if crowd { Role::Crowd } else { Role::Object },
    });
    (prop::collection::vec(detection, 0..12), prop::collection::vec(truth, 0..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn typed_and_json_input_give_the_same(images in prop::collection::vec(image(), 0..8)) {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut evaluator = Evaluator::new(&names);
        let (mut detections, mut annotations) = (Vec::new(), Vec::new());
        for (image, (found, truths)) in images.iter().enumerate() {
            evaluator.add_image(found, truths).unwrap();
            for d in found {
                detections.push(json!({"image_id": image, "category_id": d.class, "bbox": d.bbox.to_xywh(), "score": d.score}));
            }
            for t in truths {
                let (id, crowd) = (annotations.len() + 1, u8::from(t.role == Role::Crowd));
                annotations.push(json!({"id": id, "image_id": image, "category_id": t.class, "bbox": t.bbox.to_xywh(), "iscrowd": crowd}));
            }
        }
        let file = json!({
            "images": (0..images.len()).map(|id| json!({"id": id})).collect::<Vec<_>>(),
            "categories": (0..3).map(|id| json!({"id": id, "name": names[id]})).collect::<Vec<_>>(),
            "annotations": annotations,
        });
        prop_assert_eq!(evaluator.report(), figures(json!(detections), file));
    }
}
