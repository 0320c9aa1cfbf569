//! The only crate that knows protobuf: checked decode, encode, chunks, stubs.
