//! Losses of one class logit against a target score. Every loss is a file in `class_loss/` with one entry in
//! [`CLASS_LOSSES`].

use serde::{Deserialize, Serialize};

mod focal;
mod quality_focal;

/// A loss of one logit; sums over logits are the caller's.
pub trait ClassLoss: Send + Sync {
    /// The target used in place of an assigned one: itself for a loss of quality, 1 for a loss of presence.
    fn target(&self, quality: f32) -> f32;

    /// Value and derivative by the logit, for a location that should score `target`, in `0..=1`.
    fn positive(&self, logit: f32, target: f32) -> (f32, f32);

    /// Values and derivatives for logits that should score 0. All three slices have the same length.
    fn negatives(&self, logits: &[f32], losses: &mut [f32], gradients: &mut [f32]);
}

/// Runs a branch-free scalar loss over slices; inlined into each loss so that it vectorises.
#[inline(always)]
fn each(logits: &[f32], losses: &mut [f32], gradients: &mut [f32], scalar: impl Fn(f32) -> (f32, f32)) {
    for ((&logit, loss), gradient) in logits.iter().zip(losses).zip(gradients) {
        (*loss, *gradient) = scalar(logit);
    }
}

/// A listed loss.
#[derive(Clone, Copy)]
pub struct ClassLossEntry {
    /// Name in configuration and reports.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The loss.
    pub loss: &'static dyn ClassLoss,
}

/// All losses; the first is the default.
pub static CLASS_LOSSES: &[ClassLossEntry] = &[quality_focal::ENTRY, focal::ENTRY];

/// A listed loss, chosen by its name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassLossChoice(&'static ClassLossEntry);

impl ClassLossChoice {
    /// The loss of a name.
    ///
    /// # Errors
    /// A name that is not listed.
    pub fn named(name: &str) -> Result<Self, UnknownClassLoss> {
        let found = CLASS_LOSSES.iter().find(|entry| entry.name == name);
        found.map(Self).ok_or_else(|| UnknownClassLoss { found: name.to_owned() })
    }

    /// Its entry in the list.
    pub fn entry(&self) -> &'static ClassLossEntry {
        self.0
    }
}

impl Default for ClassLossChoice {
    fn default() -> Self {
        Self(&CLASS_LOSSES[0])
    }
}

impl PartialEq for ClassLossChoice {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl std::fmt::Debug for ClassLossChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClassLossChoice").field(&self.0.name).finish()
    }
}

impl TryFrom<String> for ClassLossChoice {
    type Error = UnknownClassLoss;

    fn try_from(name: String) -> Result<Self, UnknownClassLoss> {
        Self::named(&name)
    }
}

impl From<ClassLossChoice> for String {
    fn from(choice: ClassLossChoice) -> Self {
        choice.0.name.to_owned()
    }
}

/// A class loss nobody wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown class loss `{found}`, expected {}", names())]
pub struct UnknownClassLoss {
    /// The name given.
    pub found: String,
}

fn names() -> String {
    CLASS_LOSSES.iter().map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
