//! The device client: shell around client-core.
