//! Boxes, assignment, decoding, NMS and COCO-style AP on plain slices.
