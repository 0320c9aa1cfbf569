//! Thousands of unequal virtual devices driving the production cores.
