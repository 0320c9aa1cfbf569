//! Update compression: trait, registry, error feedback, entropy accounting.
