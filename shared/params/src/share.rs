//! A sequence divided among devices.

use serde::{Deserialize, Serialize};

/// Every `of`-th item of a sequence, beginning with the `part`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u8, u8)", into = "(u8, u8)")]
pub struct Share {
    part: u8,
    of: u8,
}

impl Share {
    /// All items.
    pub const ALL: Self = Self { part: 0, of: 1 };
    /// Shares there are at most.
    pub const OF_MAX: u8 = 16;

    /// Every `of`-th item, beginning with the `part`-th. `of` is taken as from 1 to [`Share::OF_MAX`], and `part` modulo `of`, so
    /// that every pair of numbers is a share.
    pub fn new(part: u8, of: u8) -> Self {
        let of = of.clamp(1, Self::OF_MAX);
        Self { part: part % of, of }
    }

    /// The first item.
    pub fn part(self) -> u8 {
        self.part
    }

    /// How many shares there are.
    pub fn of(self) -> u8 {
        self.of
    }
}

impl From<(u8, u8)> for Share {
    fn from((part, of): (u8, u8)) -> Self {
        Self::new(part, of)
    }
}

impl From<Share> for (u8, u8) {
    fn from(share: Share) -> Self {
        (share.part, share.of)
    }
}
