//! The coordinator: shell around coordinator-core.
