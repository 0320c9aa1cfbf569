//! A random share of the values at places drawn from a seed of the message's own: no index is sent.

use params::Layout;

use crate::mask::{Masked, decode};
use crate::random::seed_of;
use crate::{Codec, EncodeError, Encoded, Entry};

const ID: u8 = 8;

pub(crate) const ENTRY: Entry = Entry {
    name: "seeded",
    id: ID,
    description: "a random share of the values, other ones in every message: no indices",
    build: |settings| Ok(Box::new(Seeded(Masked::new(settings)?))),
    decode,
    form: None,
};

#[derive(Debug)]
struct Seeded(Masked);

impl Codec for Seeded {
    fn encode(&self, layout: &Layout, values: &[f32]) -> Result<Encoded, EncodeError> {
        self.0.encode(ID, seed_of(values), layout, values)
    }

    fn entries_max(&self, layout: &Layout) -> usize {
        self.0.count(layout)
    }

    /// On average the share that is sent; nothing of values that are nowhere else.
    fn kept(&self, _: &Layout) -> f64 {
        0.0
    }
}
