//! One virtual device: the production client core, a trainer, and a device's speed and link.

use client_core::Client;
use client_core::effect::Effect;
use protocol::id::{ClientId, Version};
use protocol::time::Timestamp;
use protocol::train::Trainer;

use crate::device::Device;

/// A device of the fleet.
pub struct Host {
    /// Its name.
    pub name: ClientId,
    /// The core.
    pub core: Client,
    /// What the core asked for when it was made.
    pub first: Vec<Effect>,
    /// Speed and link.
    pub device: Device,
    /// The trainer, while no job is running.
    pub trainer: Option<Box<dyn Trainer>>,
    /// Number of the session, counted over all connections; messages of older sessions are lost.
    pub session: u32,
    /// Whether a session is open.
    pub connected: bool,
    /// The version on its way to the device.
    pub fetching: Option<Version>,
    /// Whether an update is on its way to the coordinator.
    pub uploading: bool,
    /// Until when the device cannot connect.
    pub away_until: Timestamp,
    /// When the core is to be woken, as scheduled last.
    pub wake: Option<Timestamp>,
    /// Images it trains on.
    pub examples: u32,
    /// Images it evaluates on.
    pub held_out: u32,
    /// Rounds it contributed to.
    pub contributions: u32,
}
