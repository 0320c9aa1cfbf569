//! A random share of the values at places that all devices of a round have in common: no index is sent.

use params::Layout;

use crate::mask::{Masked, decode};
use crate::{Codec, EncodeError, Encoded, Entry};

pub(crate) const ID: u8 = 9;

pub(crate) const ENTRY: Entry = Entry {
    name: "public",
    id: ID,
    description: "a random share of the values, the same ones on all devices of a round: no indices",
    build: |settings| Ok(Box::new(Public { masked: Masked::new(settings)?, mask: settings.mask })),
    decode,
    form: None,
};

#[derive(Debug)]
struct Public {
    masked: Masked,
    mask: u32,
}

impl Codec for Public {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        self.masked.encode(ID, self.mask, layout, values)
    }

    fn entries_max(&self, layout: &Layout) -> usize {
        self.masked.count(layout)
    }

    /// On average the share that is sent; nothing of values that are nowhere else.
    fn kept(&self, _: &Layout) -> f64 {
        0.0
    }
}
