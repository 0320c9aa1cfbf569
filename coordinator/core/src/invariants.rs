//! What always holds, as predicates and as a checker of effects; used by debug asserts, by tests and by the simulator.

use std::collections::BTreeMap;

use params::Digest;
use protocol::id::{ClientId, Round, Version};
use protocol::message::{Receipt, ToClient};
use thiserror::Error;

use crate::effect::Effect;
use crate::journal::Record;

/// A cohort names each client once, in order.
pub fn distinct_and_ordered(cohort: &[ClientId]) -> bool {
    cohort.windows(2).all(|pair| pair[0] < pair[1])
}

/// A version is made only of at least the configured number of updates.
pub fn enough_contributors(contributors: usize, min_contributors: u32) -> bool {
    contributors >= min_contributors as usize
}

/// An invariant that does not hold, named.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} does not hold: {what}")]
pub struct Violation {
    /// Name of the invariant.
    pub name: &'static str,
    /// What was seen.
    pub what: String,
}

/// Watches the effects of one run in the order in which they are performed, across restarts: show it each effect once it is
/// performed, and none that a crash prevented. Costs O(log clients) per effect and memory of one round.
#[derive(Debug)]
pub struct Checker {
    min_contributors: u32,
    round: Round,
    /// The open round's updates, and those carried over to it.
    open: Option<BTreeMap<ClientId, Digest>>,
    /// Updates of rounds that were abandoned since the last version.
    carried: BTreeMap<ClientId, Digest>,
    /// Each client's last accepted update.
    accepted: BTreeMap<ClientId, (Round, Digest)>,
    /// The last version made, and whether it has been published.
    announced: Option<(Version, Digest)>,
    published: Option<(Version, Digest)>,
    halted: bool,
}

impl Checker {
    /// Watches a run that needs so many updates per version.
    pub fn new(min_contributors: u32) -> Self {
        Self {
            min_contributors,
            round: Round(0),
            open: None,
            carried: BTreeMap::new(),
            accepted: BTreeMap::new(),
            announced: None,
            published: None,
            halted: false,
        }
    }

    /// The coordinator was restarted.
    pub fn restarted(&mut self) {
        self.halted = false;
    }

    /// Takes in one performed effect.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub fn observe(&mut self, effect: &Effect) -> Result<(), Violation> {
        match effect {
            Effect::Journal(record) => self.record(record),
            Effect::Publish(published, _) => {
                let found = (published.version, published.digest);
                let first = self.published.is_none() && published.version == Version(0);
                let name = "a version is published only from a closed round";
                let known = first || self.announced == Some(found) || self.published == Some(found);
                require(name, known, || format!("{found:?} after {:?}", self.published))?;
                self.published = Some(found);
                Ok(())
            }
            Effect::Receipt { client, payload, receipt: Receipt::Accepted { round } } => {
                let found = self.accepted.get(client);
                let name = "an acknowledged update is durable";
                require(name, found == Some(&(*round, *payload)), || {
                    format!("{client}, round {round}: {found:?}")
                })
            }
            Effect::Send { instruction: ToClient::Train(plan), client } => {
                let name = "clients train the published version, in the open round";
                let held = self.open.is_some()
                    && plan.round == self.round
                    && self.published == Some((plan.version, plan.model_digest));
                require(name, held, || format!("{client} asked in round {}", plan.round))
            }
            Effect::Send { instruction: ToClient::Evaluate(plan), client } => {
                let name = "clients evaluate the published version";
                let held = self.published == Some((plan.version, plan.model_digest));
                require(name, held, || format!("{client} asked for version {}", plan.version))
            }
            Effect::Halt { .. } => {
                self.halted = true;
                Ok(())
            }
            Effect::Receipt { .. }
            | Effect::Send { .. }
            | Effect::Initialise { .. }
            | Effect::Score { .. }
            | Effect::Report(_)
            | Effect::Notice(_) => Ok(()),
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::RunStarted { .. }
            | Record::RoundEvaluated { .. }
            | Record::RoundReported { .. }
            | Record::Compacted { .. } => Ok(()),
            Record::RoundOpened { round, version, cohort, .. } => {
                require("rounds are numbered upwards", *round > self.round, || {
                    format!("{round} after {}", self.round)
                })?;
                require("one round is open at a time", self.open.is_none(), || format!("round {round}"))?;
                require("nothing happens after the halt", !self.halted, || format!("round {round} opened"))?;
                require("a cohort names each client once, in order", distinct_and_ordered(cohort), || {
                    format!("round {round}")
                })?;
                let base = self.published.map(|(version, _)| version);
                let name = "a round starts from the published version";
                require(name, base == Some(*version), || {
                    format!("round {round}: {version}, published {base:?}")
                })?;
                self.round = *round;
                self.open = Some(std::mem::take(&mut self.carried));
                Ok(())
            }
            Record::Accepted { round, client, header, .. } => {
                let in_round = *round == self.round;
                let open = self.open.as_mut().filter(|_| in_round);
                let name = "a client counts at most once in a version, by an update of the open round";
                let first =
                    open.is_some_and(|open| open.insert(client.clone(), header.payload_digest).is_none());
                require(name, first, || format!("{client}, round {round}"))?;
                self.accepted.insert(client.clone(), (*round, header.payload_digest));
                Ok(())
            }
            Record::RoundClosed { report } => {
                let accepted = self.open.take().map_or(0, |open| open.len());
                let enough = enough_contributors(accepted, self.min_contributors);
                let name = "a version is made of enough updates";
                require(name, enough, || format!("round {}: {accepted}", report.round))?;
                let name = "every accepted update counts, carried ones too";
                require(name, accepted == report.contributors as usize, || {
                    format!("round {}: {accepted} accepted, {} count", report.round, report.contributors)
                })?;
                let expected = self.published.map(|(version, _)| Version(version.0 + 1));
                let name = "versions follow one another";
                require(name, expected == Some(report.version), || {
                    format!("{} after {expected:?}", report.version)
                })?;
                self.announced = Some((report.version, report.model_digest));
                Ok(())
            }
            Record::RoundAbandoned { .. } => {
                self.carried = self.open.take().unwrap_or_default();
                Ok(())
            }
        }
    }
}

fn require(name: &'static str, held: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if held { Ok(()) } else { Err(Violation { name, what: what() }) }
}

#[cfg(test)]
mod tests;
