//! What was learned but not sent stays on the device and goes with a later update (error feedback, Seide et al. 2014).
//!
//! With u = delta + decay * residual and d what the decoder makes of the payload, the next residual is u - d. It becomes
//! final only when the coordinator has accepted the payload; refused, everything is taken back and the residual is u. Which of
//! the two holds is a matter of types: [`Residual::prepare`] gives a [`Pending`], which ends in exactly one of
//! [`Pending::commit`] and [`Pending::restore`].
//!
//! d + residual = u holds bit for bit in f32 for the codecs of this crate as long as the magnitudes sent from one class
//! of tensors span less than 2^16 (see sparse/levels.rs); beyond, it holds within half a unit in the last place of u. The residual decays
//! because a device that is asked rarely would otherwise release stale mass all at once; 0.9 for each participation holds
//! up where 1 diverges.

use params::{Digest, Layout, Tensor};

use crate::error::{DecodeError, EncodeError, Rule};
use crate::frame::{open, put_varint, seal};
use crate::half_float::{exponent_for, put_halves, read_halves, round_to_halves};
use crate::{Codec, Encoded, Held, check_length, decode_update};

/// First byte of a stored residual.
const KIND: u8 = 0x61;
/// Values that are stored relative to one power of two.
const BLOCK: usize = 1024;

/// What a residual belongs to; with another lineage its values mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The run's number.
    pub run: u64,
    /// Digest of the layout of the shared tensors.
    pub layout: Digest,
}

/// How much of the past goes with an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feedback {
    /// What remains of the residual at each participation, 0 to 1.
    pub decay: f32,
    /// Largest norm of a tensor's residual relative to the norm of its delta; the rest of it is dropped.
    pub guard: Option<f32>,
}

/// Values held back, in the layout of the shared tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    lineage: Lineage,
    /// Empty when nothing is held back.
    values: Vec<f32>,
}

/// An update that has been encoded but not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    after: Residual,
    encoded: Encoded,
}

impl Residual {
    /// Nothing held back.
    pub fn new(lineage: Lineage) -> Self {
        Self { lineage, values: Vec::new() }
    }

    /// What it belongs to.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The values held back; empty means zero everywhere.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Encodes `delta` together with what is held back.
    ///
    /// # Errors
    /// A wrong length, a value that is not finite or beyond 2^80.
    pub fn prepare(
        &self,
        codec: &dyn Codec,
        layout: &Layout,
        delta: Vec<f32>,
        feedback: Feedback,
    ) -> Result<Pending, EncodeError> {
        check_length(layout, &delta)?;
        let mut values = delta;
        let scales = if self.values.len() == layout.len() {
            let each =
                |tensor: &Tensor| feedback.scale(&values[tensor.range()], &self.values[tensor.range()]);
            layout.tensors().iter().map(each).collect()
        } else {
            Vec::new()
        };
        let held = Held::new(layout, &self.values, scales)?;
        let encoded = codec.encode_sum(layout, &mut values, &held)?;
        for &(index, sent) in &encoded.entries {
            values[index as usize] -= sent;
        }
        if encoded.entries.len() == values.len() && values.iter().all(|&value| value == 0.0) {
            values = Vec::new();
        }
        Ok(Pending { after: Self { lineage: self.lineage, values }, encoded })
    }

    /// Rounds the values to what [`Self::encode`] stores, so that a restart changes nothing: by at most 2^-11 of a value, or 2^-39 of the
    /// largest one of its block.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        self.values.chunks_mut(BLOCK).for_each(round_to_halves);
        self
    }

    /// The bytes to store: values as f16 relative to a power of two for each block. (bf16 would need no power of two, and lose eight
    /// times as much.)
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * self.values.len() + self.values.len() / (BLOCK / 2) + 64);
        bytes.push(KIND);
        bytes.extend_from_slice(&self.lineage.run.to_le_bytes());
        bytes.extend_from_slice(&self.lineage.layout.0);
        put_varint(&mut bytes, self.values.len() as u32);
        self.values.chunks(BLOCK).for_each(|block| put_halves(block, &mut bytes));
        seal(bytes)
    }

    /// Reads what [`Self::encode`] gave, for `lineage` and a layout of `len` values.
    ///
    /// # Errors
    /// Damaged bytes, or another lineage. Either way the device goes on with [`Residual::new`].
    pub fn decode(bytes: &[u8], lineage: Lineage, len: usize) -> Result<Self, DecodeError> {
        let mut reader = open(bytes)?;
        let kind = reader.u8()?;
        if kind != KIND {
            return Err(reader.error(Rule::Unknown { what: "kind", found: kind }));
        }
        let run = u64::from_le_bytes(reader.array()?);
        let layout = Digest(reader.array()?);
        if (Lineage { run, layout }) != lineage {
            return Err(reader.error(Rule::Foreign { what: "the residual" }));
        }
        let stored = reader.bounded("number of values", 0, len)?;
        if stored != 0 && stored != len {
            let (expected, found) = (len as u64, stored as u64);
            return Err(reader.error(Rule::Mismatch { what: "number of values", expected, found }));
        }
        if reader.remaining() < 2 * (stored + stored.div_ceil(BLOCK)) {
            return Err(reader.error(Rule::Truncated));
        }
        let mut values = vec![0.0; stored];
        for block in values.chunks_mut(BLOCK) {
            let start = reader.offset();
            let exponent = read_halves(&mut reader, block)?;
            if exponent != exponent_for(block) {
                let rule = Rule::Form { what: "the exponent of a block" };
                return Err(DecodeError { offset: start, rule });
            }
        }
        reader.end()?;
        Ok(Self { lineage, values })
    }
}

impl Feedback {
    /// What one tensor's residual is multiplied by.
    fn scale(self, delta: &[f32], residual: &[f32]) -> f32 {
        let Some(guard) = self.guard else { return self.decay };
        let (held, limit) = (f64::from(self.decay) * norm(residual), f64::from(guard) * norm(delta));
        if held > limit { self.decay * (limit / held) as f32 } else { self.decay }
    }
}

/// Euclidean norm. The order of additions is fixed, and leaves room to do several at a time.
fn norm(values: &[f32]) -> f64 {
    let (rows, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for row in rows {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest = rest.iter().map(|&value| f64::from(value) * f64::from(value));
    sums.into_iter().chain(rest).sum::<f64>().sqrt()
}

impl Pending {
    /// Takes up an update that was stored before a restart: the residual as it will be after acceptance, and the payload.
    ///
    /// # Errors
    /// A payload that does not decode over `layout`.
    pub fn resume(after: Residual, layout: &Layout, payload: Vec<u8>) -> Result<Self, DecodeError> {
        let entries = decode_update(layout, layout.len(), &payload)?;
        Ok(Self { after, encoded: Encoded { payload, entries } })
    }

    /// The bytes to send.
    pub fn payload(&self) -> &[u8] {
        &self.encoded.payload
    }

    /// What the decoder makes of the payload.
    pub fn entries(&self) -> &[(u32, f32)] {
        &self.encoded.entries
    }

    /// The residual as it will be once the update is accepted.
    pub fn after(&self) -> &Residual {
        &self.after
    }

    /// Rounds the residual as [`Residual::rounded`] does.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self { after: self.after.rounded(), ..self }
    }

    /// The coordinator has accepted the update.
    pub fn commit(self) -> Residual {
        self.after
    }

    /// The coordinator has refused the update: what was sent is held back again.
    pub fn restore(self) -> Residual {
        let Encoded { entries, .. } = self.encoded;
        let Residual { lineage, mut values } = self.after;
        if values.is_empty() {
            // Only an update of every value leaves nothing behind, or one of none.
            values = entries.iter().map(|&(_, sent)| sent).collect();
        } else {
            for (index, sent) in entries {
                values[index as usize] += sent;
            }
        }
        Residual { lineage, values }
    }
}

#[cfg(test)]
mod tests;
