//! Who is connected, and whether a newcomer can take part.

use std::collections::{BTreeMap, BTreeSet};

use protocol::PROTOCOL_VERSION;
use protocol::id::ClientId;
use protocol::limits::{CLASSES_MAX, CLIENTS_MAX};
use protocol::message::Hello;

use crate::config::class_name_rule;

/// The clients with an open session.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    sessions: BTreeMap<ClientId, Session>,
    /// How many connected clients annotate a class.
    classes: BTreeMap<String, usize>,
}

/// What a connected client has.
#[derive(Debug)]
struct Session {
    /// Class names it annotates.
    classes: Vec<String>,
    /// Training images.
    examples: u32,
}

/// Why a client cannot take part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// One line saying what is wrong and what to do.
    pub(crate) reason: String,
    /// Whether trying again later can help.
    pub(crate) retry: bool,
}

impl Roster {
    /// Opens a session, or replaces the client's earlier one. `classes` are the run's, once they are frozen.
    ///
    /// # Errors
    /// Why the client cannot take part; it is then not connected.
    pub(crate) fn join(
        &mut self,
        client: &ClientId,
        hello: &Hello,
        classes: Option<&[String]>,
    ) -> Result<(), Unfit> {
        self.leave(client);
        self.check(hello, classes)?;
        for class in &hello.classes {
            match self.classes.get_mut(class) {
                Some(count) => *count += 1,
                None => _ = self.classes.insert(class.clone(), 1),
            }
        }
        let session = Session { classes: hello.classes.clone(), examples: hello.examples };
        self.sessions.insert(client.clone(), session);
        Ok(())
    }

    /// Ends a session; whether there was one.
    pub(crate) fn leave(&mut self, client: &ClientId) -> bool {
        let Some(session) = self.sessions.remove(client) else { return false };
        for class in session.classes {
            if let Some(count) = self.classes.get_mut(&class) {
                *count -= 1;
                if *count == 0 {
                    self.classes.remove(&class);
                }
            }
        }
        true
    }

    fn check(&self, hello: &Hello, classes: Option<&[String]>) -> Result<(), Unfit> {
        let never = |reason: String| Err(Unfit { reason, retry: false });
        if hello.protocol != PROTOCOL_VERSION {
            let found = hello.protocol;
            return never(format!(
                "this client speaks protocol {found}, the coordinator {PROTOCOL_VERSION}: install the same version on both"
            ));
        }
        if self.sessions.len() >= CLIENTS_MAX {
            let reason = format!("{CLIENTS_MAX} clients are connected, which is the limit: try again later");
            return Err(Unfit { reason, retry: true });
        }
        if hello.examples == 0 {
            return never("this client has no training images: give it a folder with labelled images".into());
        }
        if hello.classes.is_empty() {
            return never("this client's images have no classes: annotate at least one".into());
        }
        if let Some((class, rule)) =
            hello.classes.iter().find_map(|class| Some((class, class_name_rule(class)?)))
        {
            return never(format!("class name {class:?} cannot be used: it must be {rule}"));
        }
        let distinct: BTreeSet<_> = hello.classes.iter().collect();
        if distinct.len() != hello.classes.len() {
            return never("this client names a class twice".into());
        }
        match classes {
            Some(classes) if !hello.classes.iter().any(|class| classes.contains(class)) => {
                let (found, run) = (list(&hello.classes), list(classes));
                never(format!(
                    "none of this client's classes ({found}) is among the run's ({run}): rename or relabel"
                ))
            }
            Some(_) => Ok(()),
            None => {
                let new = hello.classes.iter().filter(|class| !self.classes.contains_key(*class)).count();
                let found = self.classes.len() + new;
                if found <= CLASSES_MAX {
                    return Ok(());
                }
                never(format!(
                    "with this client's classes the run would have {found}, more than {CLASSES_MAX}"
                ))
            }
        }
    }

    /// Whether the client has a session.
    pub(crate) fn holds(&self, client: &ClientId) -> bool {
        self.sessions.contains_key(client)
    }

    /// Training images of a client; 0 when it is not connected.
    pub(crate) fn examples(&self, client: &ClientId) -> u32 {
        self.sessions.get(client).map_or(0, |session| session.examples)
    }

    /// Connected clients, in order of name.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &ClientId> {
        self.sessions.keys()
    }

    /// Number of connected clients.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Names of all classes that connected clients annotate, sorted.
    pub(crate) fn union_of_classes(&self) -> Vec<String> {
        self.classes.keys().cloned().collect()
    }
}

/// The first few names, for a message.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

#[cfg(test)]
mod tests;
