//! Cutting and joining bulk data.

use bytes::Bytes;
use params::Digest;
use proptest::prelude::*;
use protocol::limits::CHUNK_BYTES_MAX;

use crate::chunk::{ChunkError, Joiner, split};

fn joiner(data: &[u8]) -> Joiner {
    Joiner::new(data.len() as u64, Digest::of(&[data]))
}

#[test]
fn data_of_any_length_survives_chunks() -> Result<(), ChunkError> {
    for length in [0, 1, CHUNK_BYTES_MAX - 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let mut joiner = joiner(&data);
        let chunks: Vec<Bytes> = split(Bytes::from(data.clone()), CHUNK_BYTES_MAX).collect();
        assert_eq!(chunks.len(), length.div_ceil(CHUNK_BYTES_MAX));
        for chunk in &chunks {
            joiner.push(chunk)?;
        }
        assert_eq!(joiner.finish()?, data);
    }
    Ok(())
}

#[test]
fn what_was_not_announced_is_refused() {
    let data = [1, 2, 3, 4];
    let mut chunks = joiner(&data);
    assert_eq!(chunks.push(&[]), Err(ChunkError::Size { found: 0, max: CHUNK_BYTES_MAX }));
    let oversized = vec![0; CHUNK_BYTES_MAX + 1];
    let found = oversized.len();
    assert_eq!(chunks.push(&oversized), Err(ChunkError::Size { found, max: CHUNK_BYTES_MAX }));
    assert_eq!(chunks.push(&[0; 5]), Err(ChunkError::TooMany { expected: 4, found: 5 }));
    assert_eq!(chunks.push(&data[..3]), Ok(()));
    assert_eq!(chunks.finish(), Err(ChunkError::Truncated { expected: 4, found: 3 }));

    let mut chunks = joiner(&data);
    assert_eq!(chunks.push(&[1, 2, 3, 5]), Ok(()));
    assert!(matches!(chunks.finish(), Err(ChunkError::Digest { .. })));
}

proptest! {
    /// However the bytes are cut, they join to the same.
    #[test]
    fn cuts_do_not_matter(data in prop::collection::vec(any::<u8>(), 1..2000), cut in 1_usize..300) {
        let mut joiner = joiner(&data);
        for chunk in data.chunks(cut) {
            prop_assert_eq!(joiner.push(chunk), Ok(()));
        }
        prop_assert_eq!(joiner.finish(), Ok(data));
    }
}
