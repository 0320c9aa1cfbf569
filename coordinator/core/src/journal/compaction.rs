//! Which records of a journal are still needed once versions are stored: a journal grows with what is under way, not with what
//! is done.

use std::collections::{BTreeMap, BTreeSet};

use params::Digest;
use protocol::id::{ClientId, Round, Version};

use super::Record;
use crate::context::RECEIPT_ROUNDS;

/// What may be written in place of a journal's first records.
#[derive(Debug)]
pub struct Compaction {
    dropped: usize,
    summary: [Record; 2],
}

/// What counts so far: round and payload of each client's last accepted update.
type Receipts = BTreeMap<ClientId, (Round, Digest)>;

impl Compaction {
    /// Reads a journal whose run has `stored` this version: all its rounds up to the one that made it can go. `None` if there
    /// is nothing to be gained. Memory grows with the number of clients alone.
    ///
    /// Keep some versions and give the oldest of them: going on from a later one, or from this one should the later ones be
    /// damaged, is the same as with the whole journal.
    pub fn plan<E>(
        records: impl Iterator<Item = Result<Record, E>>,
        stored: Version,
    ) -> Result<Option<Self>, E> {
        let mut start = None;
        let mut receipts = Receipts::new();
        // Of rounds that are not known to be over.
        let mut recent = Receipts::new();
        let mut asked = BTreeSet::new();
        let mut made = None;
        let mut over = None;
        for (index, record) in records.enumerate() {
            match record? {
                record @ Record::RunStarted { .. } => start = Some(record),
                Record::Accepted { round, client, header, .. } => {
                    recent.insert(client, (round, header.payload_digest));
                }
                Record::RoundClosed { report } if report.version > stored => break,
                Record::RoundClosed { report } => made = Some((report.round, report.version)),
                Record::RoundReported { round } => {
                    receipts.append(&mut recent);
                    let made = made.filter(|(made, _)| *made == round);
                    over = made.map(|(round, version)| (index, round, version, asked.clone())).or(over);
                }
                Record::Compacted { receipts: before, asked: last, .. } => {
                    asked = last.into_iter().collect();
                    receipts.extend(
                        before.into_iter().map(|(client, round, payload)| (client, (round, payload))),
                    );
                }
                Record::RoundOpened { cohort, .. } => {
                    asked = recent.keys().cloned().chain(cohort).collect();
                }
                Record::RoundEvaluated { .. } | Record::RoundAbandoned { .. } => {}
            }
        }
        let (Some(start), Some((last, round, version, asked))) = (start, over) else { return Ok(None) };
        let oldest = round.0.saturating_sub(RECEIPT_ROUNDS);
        let kept = receipts.into_iter().filter(|(_, (round, _))| round.0 >= oldest);
        let receipts = kept.map(|(client, (round, payload))| (client, round, payload)).collect();
        let asked = asked.into_iter().collect();
        let summary = [start, Record::Compacted { round, version, asked, receipts }];
        Ok(Some(Self { dropped: last + 1, summary }))
    }

    /// How many of the journal's first records the summary stands for.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The version from which on the journal can be gone through again.
    pub fn version(&self) -> Version {
        match self.summary[1] {
            Record::Compacted { version, .. } => version,
            _ => Version(0),
        }
    }

    /// The last round that can go.
    pub fn round(&self) -> Round {
        match self.summary[1] {
            Record::Compacted { round, .. } => round,
            _ => Round(0),
        }
    }

    /// The records to be written in their place.
    pub fn into_summary(self) -> [Record; 2] {
        self.summary
    }
}
