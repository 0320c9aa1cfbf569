//! Sizes and speeds of the codecs.
fn main() {}
