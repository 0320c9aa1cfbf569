//! Whom a phase waits for: who is there, who has answered, who may still come back. Every step costs O(log n).

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::ClientId;
use protocol::time::Timestamp;

/// Where one client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Connected; an answer is expected.
    Present,
    /// The session broke; waited for until then.
    Away(Timestamp),
    /// The session broke and the wait is over. An answer still counts.
    Lost,
    /// Said that it cannot. An answer still counts.
    Declined,
    /// Has answered.
    Answered,
}

/// The clients a phase asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attendance {
    members: BTreeMap<ClientId, Presence>,
    /// Those away, by the end of the wait for them.
    returns: BTreeSet<(Timestamp, ClientId)>,
    present: usize,
    lost: usize,
    declined: usize,
    answered: usize,
}

impl Attendance {
    /// Adds a client or moves it to another place.
    pub(crate) fn set(&mut self, client: &ClientId, presence: Presence) {
        let before = match self.members.get_mut(client) {
            Some(place) => Some(std::mem::replace(place, presence)),
            None => self.members.insert(client.clone(), presence),
        };
        if let Some(Presence::Away(until)) = before {
            self.returns.remove(&(until, client.clone()));
        }
        if let Presence::Away(until) = presence {
            self.returns.insert((until, client.clone()));
        }
        if let Some(count) = before.and_then(|before| self.count(before)) {
            *count -= 1;
        }
        if let Some(count) = self.count(presence) {
            *count += 1;
        }
    }

    /// The number kept of clients in this place; those away are counted by `returns`.
    fn count(&mut self, presence: Presence) -> Option<&mut usize> {
        match presence {
            Presence::Present => Some(&mut self.present),
            Presence::Away(_) => None,
            Presence::Lost => Some(&mut self.lost),
            Presence::Declined => Some(&mut self.declined),
            Presence::Answered => Some(&mut self.answered),
        }
    }

    /// Where a client stands, if it was asked.
    pub(crate) fn get(&self, client: &ClientId) -> Option<Presence> {
        self.members.get(client).copied()
    }

    /// All that were asked, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ClientId, Presence)> {
        self.members.iter().map(|(client, &presence)| (client, presence))
    }

    /// A client's session ended: it is waited for until `until`.
    pub(crate) fn left(&mut self, client: &ClientId, until: Timestamp) {
        if self.get(client) == Some(Presence::Present) {
            self.set(client, Presence::Away(until));
        }
    }

    /// A client opened a session; whether it must be told again what is asked.
    pub(crate) fn returned(&mut self, client: &ClientId) -> bool {
        match self.get(client) {
            None | Some(Presence::Answered) => false,
            Some(_) => {
                self.set(client, Presence::Present);
                true
            }
        }
    }

    /// Gives up those whose wait is over at `now`.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some((until, client)) = self.returns.first()
            && *until <= now
        {
            let client = client.clone();
            self.set(&client, Presence::Lost);
        }
    }

    /// End of the next wait for a client that is away.
    pub(crate) fn next_return(&self) -> Option<Timestamp> {
        self.returns.first().map(|(until, _)| *until)
    }

    /// Clients that may still answer and are waited for.
    pub(crate) fn awaited(&self) -> usize {
        self.present + self.returns.len()
    }

    /// Clients asked.
    pub(crate) fn asked(&self) -> usize {
        self.members.len()
    }

    /// Clients that answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered
    }

    /// Clients that said they cannot.
    pub(crate) fn declined(&self) -> usize {
        self.declined
    }

    /// Clients that are gone, or were away when the phase ended.
    pub(crate) fn lost(&self) -> usize {
        self.lost + self.returns.len()
    }
}
