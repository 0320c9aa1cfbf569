use std::path::PathBuf;

use params::{Scope, TensorSpec};

use super::*;
use crate::checkpoint::StoredTensor;

/// A stem, a block without and one with expansion, and a head that torchvision does not have.
fn layout() -> Layout {
    let mut specs = Vec::new();
    let mut push = |name: &str, shape: &[usize], scope: Scope| {
        specs.push(TensorSpec { name: name.to_owned(), shape: shape.to_vec(), scope });
    };
    let convolutions: [(&str, &[usize], usize); 6] = [
        ("backbone.0", &[3, 3, 3, 2], 2),
        ("backbone.1.depthwise", &[3, 3, 2], 2),
        ("backbone.1.project", &[4, 2], 4),
        ("backbone.2.expand", &[6, 4], 6),
        ("backbone.2.depthwise", &[3, 3, 6], 6),
        ("backbone.2.project", &[4, 6], 4),
    ];
    for (name, shape, channels) in convolutions {
        push(&format!("{name}.weight"), shape, Scope::Shared);
        push(&format!("{name}.gamma"), &[channels], Scope::Shared);
        push(&format!("{name}.beta"), &[channels], Scope::Shared);
        push(&format!("{name}.mean"), &[channels], Scope::Statistic);
        push(&format!("{name}.var"), &[channels], Scope::Statistic);
    }
    push("head.class.weight", &[3, 4], Scope::Shared);
    Layout::new(specs).unwrap()
}

/// Names and shapes as `torchvision.models.mobilenet_v2().state_dict()` lists them, at other widths.
fn checkpoint() -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    let mut next = 0.0;
    let mut push = |name: String, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values = (0..count)
            .map(|_| {
                next += 1.0;
                next
            })
            .collect();
        checkpoint.tensors.insert(name, StoredTensor { shape: shape.to_vec(), values });
    };
    let convolutions: [(&str, &str, &[usize]); 6] = [
        ("features.0.0", "features.0.1", &[2, 3, 3, 3]),
        ("features.1.conv.0.0", "features.1.conv.0.1", &[2, 1, 3, 3]),
        ("features.1.conv.1", "features.1.conv.2", &[4, 2, 1, 1]),
        ("features.2.conv.0.0", "features.2.conv.0.1", &[6, 4, 1, 1]),
        ("features.2.conv.1.0", "features.2.conv.1.1", &[6, 1, 3, 3]),
        ("features.2.conv.2", "features.2.conv.3", &[4, 6, 1, 1]),
    ];
    for (convolution, norm, shape) in convolutions {
        push(format!("{convolution}.weight"), shape);
        for field in ["weight", "bias", "running_mean", "running_var"] {
            push(format!("{norm}.{field}"), &shape[..1]);
        }
    }
    checkpoint
}

#[test]
fn every_backbone_tensor_lands_in_our_order_of_axes() {
    let (layout, checkpoint) = (layout(), checkpoint());
    assert!(recognises(&checkpoint));
    let mut values = vec![0.0; layout.len()];
    assert_eq!(adopt(&PathBuf::from("x"), &checkpoint, &layout, &mut values).unwrap(), 30);
    let ours = |name: &str| &values[layout.find(name).unwrap().range()];
    let theirs = |name: &str| &checkpoint.tensors[name].values;
    for out in 0..2 {
        for input in 0..3 {
            for tap in 0..9 {
                let found = ours("backbone.0.weight")[(tap * 3 + input) * 2 + out];
                assert_eq!(found, theirs("features.0.0.weight")[(out * 3 + input) * 9 + tap]);
            }
        }
    }
    for channel in 0..6 {
        for tap in 0..9 {
            let found = ours("backbone.2.depthwise.weight")[tap * 6 + channel];
            assert_eq!(found, theirs("features.2.conv.1.0.weight")[channel * 9 + tap]);
        }
    }
    assert_eq!(ours("backbone.1.project.weight"), theirs("features.1.conv.1.weight"));
    assert_eq!(ours("backbone.2.project.var"), theirs("features.2.conv.3.running_var"));
    assert_eq!(ours("backbone.1.depthwise.beta"), theirs("features.1.conv.0.1.bias"));
    assert!(ours("head.class.weight").iter().all(|&value| value == 0.0), "left as it was");
}

#[test]
fn another_width_is_refused_by_tensor_and_shapes() {
    let (layout, mut checkpoint) = (layout(), checkpoint());
    let narrow = StoredTensor { shape: vec![6, 8, 1, 1], values: vec![1.0; 48] };
    checkpoint.tensors.insert("features.2.conv.0.0.weight".to_owned(), narrow);
    let mut values = vec![0.0; layout.len()];
    let refused = adopt(&PathBuf::from("x.pth"), &checkpoint, &layout, &mut values).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "x.pth: tensor features.2.conv.0.0.weight has shape [6, 8, 1, 1], the model expects [6, 4, 1, 1]"
    );
    assert!(values.iter().all(|&value| value == 0.0), "nothing is taken from a file that does not fit");
    checkpoint.tensors.remove("features.2.conv.3.bias");
    checkpoint.tensors.insert(
        "features.2.conv.0.0.weight".to_owned(),
        StoredTensor { shape: vec![6, 4, 1, 1], values: vec![1.0; 24] },
    );
    let refused = adopt(&PathBuf::from("x.pth"), &checkpoint, &layout, &mut values).unwrap_err();
    assert_eq!(refused.to_string(), "x.pth: tensor features.2.conv.3.bias is missing (shape [4] expected)");
}
