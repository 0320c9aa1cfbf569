use params::TensorSpec;

use super::*;
use crate::start::{Origin, load_start};

fn layout(second: &[usize]) -> Layout {
    let spec = |name: &str, shape: &[usize], scope| TensorSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
        scope,
    };
    Layout::new(vec![
        spec("a.weight", &[2, 3], Scope::Shared),
        spec("a.mean", second, Scope::Statistic),
        spec("personal.head.class.bias", &[2], Scope::Personal),
    ])
    .unwrap()
}

fn metadata() -> Metadata {
    crate::describe("nano96", &["cat", "dog"].map(String::from))
}

#[test]
fn values_and_metadata_come_back_and_equal_models_are_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let layout = layout(&[4]);
    let values: Vec<f32> = (0..12).map(|tick| tick as f32 - 3.5).collect();
    save_safetensors(&path, &layout, &values, &metadata()).unwrap();
    save_safetensors(&path, &layout, &values, &metadata()).unwrap();
    let mut found = vec![9.0; 12];
    assert_eq!(load_safetensors(&path, &layout, &mut found).unwrap(), metadata());
    assert_eq!(found, values);
    let bytes = encode_safetensors(&layout, &values, &metadata()).unwrap();
    assert_eq!(bytes, fs::read(&path).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
    let start = load_start(&path, &layout, &mut found).unwrap();
    assert_eq!((start.origin, start.tensors), (Origin::Fovea, 3));
}

#[test]
fn a_published_model_without_personal_tensors_leaves_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (full, shared) = (layout(&[4]), layout(&[4]).of_scope(Scope::Shared));
    let mut published = shared.specs();
    published.extend(full.of_scope(Scope::Statistic).specs());
    save_safetensors(&path, &Layout::new(published).unwrap(), &[1.0; 10], &Metadata::new()).unwrap();
    let mut values = vec![7.0; 12];
    load_safetensors(&path, &full, &mut values).unwrap();
    assert_eq!(values, [[1.0; 10].as_slice(), &[7.0, 7.0]].concat());
}

#[test]
fn files_that_do_not_fit_are_refused_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let check = |layout: &Layout, expected: &str| {
        let mut values = vec![7.0; layout.len()];
        let refused = load_safetensors(&path, layout, &mut values).unwrap_err().to_string();
        assert!(refused.ends_with(expected), "{refused}");
        assert!(values.iter().all(|&value| value == 7.0));
    };
    let mut values = vec![0.0; 12];
    save_safetensors(&path, &layout(&[4]), &values, &metadata()).unwrap();
    check(&layout(&[2, 2]), "tensor a.mean has shape [4], the model expects [2, 2]");
    save_safetensors(&path, &layout(&[4]).of_scope(Scope::Shared), &values[..6], &metadata()).unwrap();
    check(&layout(&[4]), "tensor a.mean is missing (shape [4] expected)");
    values[8] = f32::NAN;
    save_safetensors(&path, &layout(&[4]), &values, &metadata()).unwrap();
    check(&layout(&[4]), "tensor a.mean holds NaN at position 2");
    fs::write(&path, b"an image, perhaps").unwrap();
    assert!(matches!(load_safetensors(&path, &layout(&[4]), &mut values), Err(LoadError::Format { .. })));
    let absent = folder.path().join("absent.pth");
    assert!(matches!(load_start(&absent, &layout(&[4]), &mut values), Err(LoadError::Io { .. })));
}

#[test]
fn foreign_names_and_wrong_lengths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let other = TensorSpec { name: "fc.weight".to_owned(), shape: vec![3], scope: Scope::Shared };
    save_safetensors(&path, &Layout::new(vec![other]).unwrap(), &[1.0; 3], &Metadata::new()).unwrap();
    let refused = load_start(&path, &layout(&[4]), &mut [0.0; 12]).unwrap_err().to_string();
    assert!(refused.ends_with("tensor names, found fc.weight"), "{refused}");
    let refused = encode_safetensors(&layout(&[4]), &[0.0; 3], &Metadata::new()).unwrap_err();
    assert_eq!(refused.to_string(), "expected 12 values, found 3");
}

#[test]
fn an_unwritable_place_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(&[4]);
    let missing = folder.path().join("no/such/folder.safetensors");
    let refused = save_safetensors(&missing, &layout, &[0.0; 12], &Metadata::new());
    assert!(matches!(refused, Err(SaveError::Io { .. })));
    // A folder in the way makes the rename fail after the bytes were written.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(save_safetensors(&taken, &layout, &[0.0; 12], &Metadata::new()).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
}
