//! What outlives a phase: who is connected, which updates count, what was refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use codec::payload::Stored;
use params::Digest;
use protocol::id::{ClientId, Round, Version};
use protocol::message::{Hello, Receipt, Refusal, ToClient, UpdateHeader};
use protocol::plan::ModelSpec;

use crate::admit::{Admission, OpenRound};
use crate::config::RunConfig;
use crate::effect::Effect;
use crate::published::Published;
use crate::report::RoundReport;
use crate::roster::Roster;

/// Rounds after which a repeated upload no longer finds its receipt; its client has long given up by then.
pub(crate) const RECEIPT_ROUNDS: u32 = 100;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: RunConfig,
    pub(crate) roster: Roster,
    /// Architecture and classes, once frozen.
    pub(crate) spec: Option<ModelSpec>,
    /// The last round that was opened; 0 before the first.
    pub(crate) round: Round,
    /// Rounds abandoned since the last version.
    pub(crate) abandoned_in_a_row: u32,
    /// Whom the last round asked, and whose updates were carried over to it.
    pub(crate) last_asked: Vec<ClientId>,
    pub(crate) admission: Arc<Admission>,
    /// Where the driver has what a version leaves out.
    pub(crate) kept: Option<(Version, Arc<dyn Stored>)>,
    /// The last accepted update of each client. A client has one upload under way at a time, so one is enough to give
    /// a repeated upload the receipt it missed.
    counted: BTreeMap<ClientId, Counted>,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    round: Round,
    payload: Digest,
}

/// Counts that go into the next report.
#[derive(Debug, Default)]
struct Tally {
    refused: BTreeMap<String, u32>,
    downlink_bytes: u64,
    fetches: u32,
}

impl Context {
    pub(crate) fn new(config: RunConfig) -> Self {
        let admission = Arc::new(Admission { run: config.run(), open: None });
        Self {
            config,
            roster: Roster::default(),
            spec: None,
            round: Round(0),
            abandoned_in_a_row: 0,
            last_asked: Vec::new(),
            admission,
            kept: None,
            counted: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Takes a client in, or refuses it; whether it was taken in.
    pub(crate) fn welcome(&mut self, client: &ClientId, hello: &Hello, out: &mut Vec<Effect>) -> bool {
        let fixed = self.config.settings().classes.as_deref();
        let classes = self.spec.as_ref().map(|spec| &*spec.classes).or(fixed);
        let instruction = match self.roster.join(client, hello, classes) {
            Ok(()) => self.greeting(),
            Err(unfit) => {
                out.push(Effect::Notice(format!("{client} cannot take part: {}", unfit.reason)));
                ToClient::Refused { reason: unfit.reason, retry: unfit.retry }
            }
        };
        let taken = matches!(instruction, ToClient::Welcome { .. });
        out.push(Effect::Send { client: client.clone(), instruction });
        taken
    }

    /// The welcome as it stands: with the model once that is known.
    pub(crate) fn greeting(&self) -> ToClient {
        let seed = self.config.settings().seed;
        ToClient::Welcome { run: self.config.run(), seed, model: self.spec.clone() }
    }

    /// Opens admission for a round.
    pub(crate) fn admit_for(&mut self, round: Round, cohort: Arc<[ClientId]>, base: &Published) {
        let open = OpenRound::new(round, cohort, base, &*self.config.codec(base.version));
        self.admission = Arc::new(Admission { run: self.config.run(), open: Some(open) });
    }

    /// Closes admission.
    pub(crate) fn admit_none(&mut self) {
        self.admission = Arc::new(Admission { run: self.config.run(), open: None });
    }

    /// Notes that this update of the client counts.
    pub(crate) fn count(&mut self, client: &ClientId, round: Round, payload: Digest) {
        self.counted.insert(client.clone(), Counted { round, payload });
    }

    /// The payload of the client's update that counts in `round`, if one does.
    pub(crate) fn counted(&self, client: &ClientId, round: Round) -> Option<Digest> {
        let counted = self.counted.get(client).filter(|counted| counted.round == round);
        counted.map(|counted| counted.payload)
    }

    /// Answers an upload that cannot change anything any more: the receipt it missed if it counts already, else why not.
    pub(crate) fn answer_settled(&mut self, client: ClientId, header: &UpdateHeader, out: &mut Vec<Effect>) {
        let round = header.round;
        let payload = header.payload_digest;
        if self.counted(&client, round) == Some(payload) {
            return out.push(Effect::Receipt { client, payload, receipt: Receipt::Accepted { round } });
        }
        let run = self.config.run();
        let refusal = if header.run != run {
            Refusal::WrongRun { expected: run, found: header.run }
        } else if round > self.round {
            Refusal::NotAsked { round }
        } else {
            Refusal::Late { round }
        };
        self.refuse(client, payload, refusal, out);
    }

    /// Refuses an upload. The first of each kind since the last report is told to the operator, unless it is one that
    /// healthy clients cause too.
    pub(crate) fn refuse(
        &mut self,
        client: ClientId,
        payload: Digest,
        refusal: Refusal,
        out: &mut Vec<Effect>,
    ) {
        let first = self.tally_refusal(refusal_kind(&refusal));
        if first && !matches!(refusal, Refusal::Late { .. } | Refusal::Duplicate { .. }) {
            out.push(Effect::Notice(format!("refused an update of {client}: {refusal}")));
        }
        out.push(Effect::Receipt { client, payload, receipt: Receipt::Refused(refusal) });
    }

    /// Counts something refused; whether it is the first of its kind since the last report.
    pub(crate) fn tally_refusal(&mut self, kind: &str) -> bool {
        if let Some(count) = self.tally.refused.get_mut(kind) {
            *count = count.saturating_add(1);
            return false;
        }
        self.tally.refused.insert(kind.into(), 1);
        true
    }

    /// Counts a fetch of a version.
    pub(crate) fn tally_fetch(&mut self, bytes: u64) {
        self.tally.downlink_bytes = self.tally.downlink_bytes.saturating_add(bytes);
        self.tally.fetches = self.tally.fetches.saturating_add(1);
    }

    /// Moves the counts since the last report into this one.
    pub(crate) fn tally_into(&mut self, report: &mut RoundReport) {
        let tally = std::mem::take(&mut self.tally);
        report.refused = tally.refused;
        report.downlink_bytes = tally.downlink_bytes;
        report.fetches = tally.fetches;
    }

    /// Forgets receipts that nobody will ask for any more. Costs one pass over the clients, once per round.
    pub(crate) fn forget_old_receipts(&mut self) {
        let oldest = self.round.0.saturating_sub(RECEIPT_ROUNDS);
        self.counted.retain(|_, counted| counted.round.0 >= oldest);
    }
}

/// The reason's name in reports.
fn refusal_kind(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Late { .. } => "late",
        Refusal::NotAsked { .. } => "not_asked",
        Refusal::Duplicate { .. } => "duplicate",
        Refusal::WrongVersion { .. } => "wrong_version",
        Refusal::WrongLayout { .. } => "wrong_layout",
        Refusal::WrongRun { .. } => "wrong_run",
        Refusal::Malformed { .. } => "malformed",
    }
}
