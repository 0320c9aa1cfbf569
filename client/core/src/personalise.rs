//! What a device keeps for itself: which personal values it trains and evaluates with.
//!
//! Personal tensors are named `personal.<x>` after the shared tensor `<x>` they start from. They are handed to the trainer
//! and taken back, stored on the device, and never put into a message: only [`crate::update`] makes payloads, and it sees the
//! shared values alone.

use std::fmt::Debug;

use params::{Layout, Scope};

// One file per method, one line below for each.
mod head;
mod none;

/// All methods: `personalise` of a plan.
pub static REGISTRY: &[Entry] = &[none::ENTRY, head::ENTRY];

/// A method as listed.
#[derive(Debug)]
pub struct Entry {
    /// Name in configuration and plans.
    pub name: &'static str,
    /// One line for help texts.
    pub description: &'static str,
    /// Makes it.
    pub build: fn() -> Box<dyn Personaliser>,
}

/// A way to personalise.
pub trait Personaliser: Debug + Send {
    /// The personal values (scope `Personal`, layout order) to work with: from the device's own, if it has any, and
    /// `start`, the shared values they would start from.
    fn values(&self, own: Option<&[f32]>, start: Vec<f32>) -> Vec<f32>;

    /// Whether the values that training gives are kept on the device.
    fn keeps(&self) -> bool;
}

/// The method called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

/// What personal tensors start from: a copy of the shared tensor each is named after, or zeros if there is none of its size.
/// `shared` holds the values of scope `Shared` of `layout`.
pub fn start(layout: &Layout, shared: &[f32]) -> Vec<f32> {
    let mut values = Vec::new();
    for tensor in layout.tensors().iter().filter(|tensor| tensor.spec.scope == Scope::Personal) {
        let mut offset = 0;
        let of_scope = layout.tensors().iter().filter(|tensor| tensor.spec.scope == Scope::Shared);
        let source = of_scope.map(|source| {
            offset += source.len;
            (source, offset - source.len)
        });
        let named = |name: &str| tensor.spec.name.strip_prefix("personal.") == Some(name);
        let found = { source }.find(|(source, _)| named(&source.spec.name) && source.len == tensor.len);
        match found {
            Some((_, offset)) => values.extend_from_slice(&shared[offset..offset + tensor.len]),
            None => values.resize(values.len() + tensor.len, 0.0),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use params::TensorSpec;

    use super::*;

    #[test]
    fn personal_tensors_start_as_the_shared_tensor_of_their_name() {
        let spec = |name: &str, len, scope| TensorSpec { name: name.into(), shape: vec![len], scope };
        let layout = Layout::new(vec![
            spec("backbone", 2, Scope::Shared),
            spec("norm.mean", 3, Scope::Statistic),
            spec("head.class.weight", 3, Scope::Shared),
            spec("personal.head.class.weight", 3, Scope::Personal),
            spec("personal.backbone", 1, Scope::Personal),
            spec("head.class.bias", 1, Scope::Shared),
            spec("personal.head.class.bias", 1, Scope::Personal),
        ]);
        let start = start(&layout.unwrap(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(start, [3.0, 4.0, 5.0, 0.0, 6.0]);
    }

    #[test]
    fn methods_say_what_is_kept() {
        let values = |name: &str, own: Option<&[f32]>| {
            let method = (find(name).unwrap().build)();
            (method.values(own, vec![1.0]), method.keeps())
        };
        assert_eq!(values("none", Some(&[2.0])), (vec![1.0], false));
        assert_eq!(values("head", Some(&[2.0])), (vec![2.0], true));
        assert_eq!(values("head", None), (vec![1.0], true));
        assert!(find("tail").is_none());
    }
}
