//! One upload, checked and decoded: a pure function that drivers run in parallel before the core hears of the upload.

use std::sync::Arc;

use params::Layout;
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::message::{Refusal, UpdateHeader};

use crate::event::Admitted;

/// What uploads are checked against at the moment; cheap to clone, valid until the core says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// The run.
    pub run: RunId,
    /// The round that is open, if one is.
    pub open: Option<OpenRound>,
}

/// What an update must be for the round that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRound {
    /// The round.
    pub round: Round,
    /// The version it starts from.
    pub version: Version,
    /// The shared tensors.
    pub layout: Arc<Layout>,
    /// Most values an update may carry.
    pub entries_max: usize,
    /// Longest payload, bytes.
    pub bytes_max: usize,
}

/// Checks all that a header alone can tell, so that a driver need not receive bytes that cannot count.
///
/// # Errors
/// Why the update cannot count.
pub fn precheck(admission: &Admission, header: &UpdateHeader) -> Result<(), Refusal> {
    let _ = (admission, header);
    Ok(())
}

/// Checks and decodes one upload: header, length, digest, then the bytes.
///
/// # Errors
/// Why the update cannot count. A refusal as late is not final: the core knows whether the very same bytes count already.
pub fn admit(
    admission: &Admission,
    client: &ClientId,
    header: &UpdateHeader,
    payload: Vec<u8>,
) -> Result<Admitted, Refusal> {
    let _ = (client, payload);
    precheck(admission, header)?;
    Err(Refusal::Late { round: header.round })
}
