//! The only crate that knows protobuf.
//!
//! [`encode`] turns the types of `protocol` into messages of `proto/fovea/v1`, [`decode`] turns received messages into
//! them again and checks every limit on the way, [`chunk`] cuts bulk data into bounded pieces and joins them. With the
//! feature `grpc` there are the generated stubs and the one mapping of errors to statuses as well; without it nothing here
//! needs a runtime, so a simulation can count the bytes a message really takes.

#[cfg(feature = "grpc")]
pub mod buffers;
pub mod chunk;
pub mod decode;
pub mod encode;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "grpc")]
pub mod status;

/// The messages as generated from `proto/fovea/v1`.
pub mod proto {
    #![allow(missing_docs, clippy::all, reason = "generated; the documentation is in the proto files")]
    #![allow(unreachable_pub, unused_qualifications, reason = "generated")]
    #![allow(clippy::allow_attributes_without_reason, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/fovea.v1.rs"));
}

pub use prost::Message;

#[cfg(test)]
mod tests;
