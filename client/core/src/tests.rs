//! The core driven from outside: readable scripts, restarts after any effect, personal values that must not leak.

mod laws;
mod script;
mod slow;
mod start;
mod support;
