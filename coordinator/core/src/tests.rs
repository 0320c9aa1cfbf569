//! The core driven from outside: readable scripts, crashes after any effect, arrivals in any order.

mod laws;
mod recovery;
mod script;
pub(crate) mod support;
