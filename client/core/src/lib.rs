//! The device as a state machine: join, fetch, train, upload, back off.
