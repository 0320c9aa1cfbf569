//! The vocabulary both sides share: ids, plans, messages, limits and the [`train::Trainer`] seam to learning.
//!
//! Nothing here performs anything. Shells translate these types to and from the wire; the cores decide with them.

pub mod evaluation;
pub mod id;
pub mod limits;
pub mod message;
pub mod plan;
pub mod randomness;
pub mod time;
pub mod train;

/// Version of the protocol spoken by this build; both sides must speak the same.
pub const PROTOCOL_VERSION: u32 = 2;
