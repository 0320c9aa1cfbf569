//! Sparse ternary compression (Sattler et al. 2019): the largest values, as a sign and one magnitude.
//!
//! What `sparse` writes with 1 bit a value, under a name of its own.

use params::Layout;

use crate::frame::Reader;
use crate::sparse::{self, Sparse};
use crate::{Codec, DecodeError, Entry, Settings};

const ID: u8 = 7;

pub(crate) const ENTRY: Entry = Entry {
    name: "ternary",
    id: ID,
    description: "the largest values only, as sign and mean magnitude",
    build: |settings| {
        let settings = Settings { value_bits: 1, ..settings.clone() };
        Sparse::new(ID, &settings).map(|codec| Box::new(codec) as Box<dyn Codec>)
    },
    decode: |layout: &Layout, max_entries, reader: Reader<'_>| -> Result<Vec<(u32, f32)>, DecodeError> {
        sparse::decode_bits(layout, max_entries, reader, 1, 1)
    },
    form: None,
};
