//! Labelled images: readers, decoding, augmentation, partitions, procedural scenes.
