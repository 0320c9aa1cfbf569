//! The generated stubs, and what every call carries: the protocol version, and in insecure mode the caller's name.

use protocol::PROTOCOL_VERSION;
use protocol::id::ClientId;
use protocol::limits::{CONTROL_BYTES_MAX, ENROL_BYTES_MAX};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::proto::enrolment_client::EnrolmentClient;
use crate::proto::enrolment_server::EnrolmentServer;
use crate::proto::federation_client::FederationClient;
use crate::proto::federation_server::FederationServer;
use crate::status::CallError;

pub use crate::proto::enrolment_server::Enrolment;
pub use crate::proto::federation_server::Federation;

/// Metadata with the caller's protocol version, in decimal.
pub const PROTOCOL_METADATA: &str = "fovea-protocol";
/// Metadata with the caller's name; read by a coordinator in insecure mode only, where there is no certificate.
pub const CLIENT_METADATA: &str = "fovea-client";

/// Puts the metadata on every call of a client.
#[derive(Clone, Debug)]
pub struct Stamp {
    protocol: AsciiMetadataValue,
    client: Option<AsciiMetadataValue>,
}

impl Stamp {
    /// For a client that has a certificate: the protocol version alone.
    pub fn secure() -> Self {
        Self { protocol: AsciiMetadataValue::from(PROTOCOL_VERSION), client: None }
    }

    /// For a client without certificate, on loopback: its name as well.
    pub fn insecure(client: &ClientId) -> Self {
        // Client names are ASCII by construction.
        let client = AsciiMetadataValue::try_from(client.as_str()).ok();
        Self { client, ..Self::secure() }
    }

    /// Pretends to speak another protocol version, to see how a coordinator answers.
    pub fn with_protocol(self, protocol: u32) -> Self {
        Self { protocol: AsciiMetadataValue::from(protocol), ..self }
    }
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(PROTOCOL_METADATA, self.protocol.clone());
        if let Some(client) = &self.client {
            metadata.insert(CLIENT_METADATA, client.clone());
        }
        Ok(request)
    }
}

/// The federation's client over one connection.
pub type FederationChannel = FederationClient<InterceptedService<Channel, Stamp>>;
/// The enrolment's client over one connection.
pub type EnrolmentChannel = EnrolmentClient<InterceptedService<Channel, Stamp>>;

/// A federation client that refuses larger messages than the contract has.
pub fn federation_client(channel: Channel, stamp: Stamp) -> FederationChannel {
    FederationClient::with_interceptor(channel, stamp).max_decoding_message_size(CONTROL_BYTES_MAX)
}

/// An enrolment client that refuses larger messages than the contract has.
pub fn enrolment_client(channel: Channel) -> EnrolmentChannel {
    EnrolmentClient::with_interceptor(channel, Stamp::secure()).max_decoding_message_size(ENROL_BYTES_MAX)
}

/// The federation as a service that refuses larger messages before parsing them.
pub fn federation_server<S: Federation>(service: S) -> FederationServer<S> {
    FederationServer::new(service).max_decoding_message_size(CONTROL_BYTES_MAX)
}

/// The enrolment as a service that refuses larger messages before parsing them.
pub fn enrolment_server<S: Enrolment>(service: S) -> EnrolmentServer<S> {
    EnrolmentServer::new(service).max_decoding_message_size(ENROL_BYTES_MAX)
}

/// Compares the caller's protocol version with ours.
///
/// # Errors
/// [`CallError::Protocol`] when it is another one, [`CallError::NoProtocol`] when there is none.
pub fn check_protocol(metadata: &MetadataMap) -> Result<(), CallError> {
    let text = metadata.get(PROTOCOL_METADATA).and_then(|value| value.to_str().ok());
    let client = text.and_then(|text| text.parse().ok()).ok_or(CallError::NoProtocol)?;
    compare_protocol(client)
}

/// Compares a client's protocol version with ours.
///
/// # Errors
/// [`CallError::Protocol`] when it is another one.
pub fn compare_protocol(client: u32) -> Result<(), CallError> {
    if client != PROTOCOL_VERSION {
        return Err(CallError::Protocol { coordinator: PROTOCOL_VERSION, client });
    }
    Ok(())
}
