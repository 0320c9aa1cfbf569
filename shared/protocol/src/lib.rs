//! Vocabulary both sides share: ids, plans, messages, limits, the Trainer seam.
