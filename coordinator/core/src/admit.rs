//! One upload, checked and decoded: a pure function that drivers run in parallel before the core hears of the upload.

use std::sync::Arc;

use codec::Codec;
use codec::payload::Payload;
use codec::tiles::Checked;
use params::{Layout, Scales};
use protocol::id::{ClientId, Round, RunId, Version};
use protocol::limits::UPDATE_BYTES_MAX;
use protocol::message::{Refusal, UpdateHeader};

use crate::event::Admitted;
use crate::published::Published;

#[cfg(test)]
mod tests;

/// What uploads are checked against at the moment. Drivers take a fresh one after every `Coordinator::handle`, before they
/// perform its effects, and hand clones of the `Arc` to their workers; the core checks again what may have changed since.
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
    /// Who was asked, in order of name.
    pub cohort: Arc<[ClientId]>,
    /// The shared tensors.
    pub layout: Arc<Layout>,
    /// Their steps, by which values can be summed or are too large.
    pub scales: Scales,
    /// Most values an update may carry.
    pub entries_max: usize,
    /// Longest payload, bytes.
    pub bytes_max: usize,
}

impl OpenRound {
    /// The bounds for updates to `base` that the plan's `codec` writes.
    pub(crate) fn new(round: Round, cohort: Arc<[ClientId]>, base: &Published, codec: &dyn Codec) -> Self {
        let layout = base.model.layout().clone();
        let entries_max = codec.entries_max(&layout);
        // The widest code of an entry is its gap and its value as whole words; tensors may each have a header.
        let bytes_max = (4096 + 64 * layout.tensors().len() + 12 * entries_max).min(UPDATE_BYTES_MAX);
        let scales = Scales::of(base.model.grid());
        Self { round, version: base.version, cohort, layout, scales, entries_max, bytes_max }
    }
}

/// Checks all that a header alone can tell, so that a driver need not receive bytes that cannot count.
///
/// # Errors
/// Why the update cannot count. A refusal as late is not final: the core knows whether the very same bytes count already.
pub fn precheck(admission: &Admission, client: &ClientId, header: &UpdateHeader) -> Result<(), Refusal> {
    if header.run != admission.run {
        return Err(Refusal::WrongRun { expected: admission.run, found: header.run });
    }
    let open = match &admission.open {
        Some(open) if open.round == header.round => open,
        Some(open) if header.round > open.round => return Err(Refusal::NotAsked { round: header.round }),
        _ => return Err(Refusal::Late { round: header.round }),
    };
    if open.cohort.binary_search(client).is_err() {
        return Err(Refusal::NotAsked { round: header.round });
    }
    if header.version != open.version {
        return Err(Refusal::WrongVersion { expected: open.version, found: header.version });
    }
    let layout = open.layout.digest();
    if header.layout != layout {
        return Err(Refusal::WrongLayout { expected: layout, found: header.layout });
    }
    let malformed = |rule: String| Err(Refusal::Malformed { rule });
    if header.examples == 0 {
        return malformed("no examples behind the update".into());
    }
    let length = header.length as usize;
    if length > open.bytes_max {
        return malformed(format!("{length} bytes, more than the {} of this round", open.bytes_max));
    }
    Ok(())
}

/// Checks one upload, and decodes it unless its values are added from where they are: header, length, digest, then the bytes.
///
/// # Errors
/// Why the update cannot count; see [`precheck`]. A driver that keeps the bytes knows whether they could not be read: then this
/// is no answer to the update.
pub fn admit(
    admission: &Admission,
    client: &ClientId,
    header: &UpdateHeader,
    payload: impl Into<Payload>,
) -> Result<Admitted, Refusal> {
    let payload = payload.into();
    let malformed = |rule: String| Err(Refusal::Malformed { rule });
    if payload.len() != header.length as usize {
        return malformed(format!("{} bytes, but the header says {}", payload.len(), header.length));
    }
    precheck(admission, client, header)?;
    let digest = payload.digest();
    if digest != header.payload_digest {
        return malformed(format!(
            "the bytes have digest {digest:?}, the header says {:?}",
            header.payload_digest
        ));
    }
    let Some(open) = &admission.open else { return Err(Refusal::Late { round: header.round }) };
    let checked = codec::tiles::check(&open.layout, &open.scales, open.entries_max, &payload);
    // Masks are of updates with entries.
    let has_entries = matches!(checked, Ok(Checked::Entries(_)));
    let mask = if has_entries { payload.whole().ok().and_then(|bytes| codec::mask_of(&bytes)) } else { None };
    match checked {
        Ok(_) if mask.is_some_and(|mask| mask != codec::round_mask(header.run.0, header.round.0)) => {
            malformed("the update is made with the mask of another round".into())
        }
        Ok(update) => Ok(Admitted::new(&open.layout, update, payload)),
        Err(error) => malformed(error.to_string()),
    }
}
