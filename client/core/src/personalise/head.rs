//! A class layer of the device's own beside the shared one (Arivazhagan et al. 2019, with the shared layer kept complete so
//! that a new device can start from it): trained with every round from where it was, never sent.

use super::{Entry, Personaliser};

pub(super) const ENTRY: Entry =
    Entry { name: "head", description: "a class layer of each device's own", build: || Box::new(Head) };

#[derive(Debug)]
struct Head;

impl Personaliser for Head {
    fn values(&self, own: Option<&[f32]>, start: Vec<f32>) -> Vec<f32> {
        own.map_or(start, <[f32]>::to_vec)
    }

    fn keeps(&self) -> bool {
        true
    }
}
