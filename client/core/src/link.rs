//! How fast updates leave the device, as far as it knows, and how much of one fits into the time that is left.
//!
//! All devices of a round get the same plan, and the slowest link would decide how long the round takes, or its device would never count.
//! A device that knows its link sends what arrives in time, and the rest with a later update.

use std::time::Duration;

use codec::BUDGET_MIN;

/// What the last upload counts for beside all before it.
const NEWEST: f64 = 0.5;
/// Share of the time left in which an update is to arrive: links change, and training ends late.
const USABLE: f64 = 0.5;

/// What is known of the way up. Small updates are mostly round trips, so that they tell of too slow a link; what fits grows again with
/// each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Uplink {
    /// Bytes that arrived, older ones weighted less.
    bytes: f64,
    /// Seconds that it took them, weighted alike; 0 when nothing is known.
    seconds: f64,
}

impl Uplink {
    /// An update of so many bytes has arrived, after so long on its way.
    pub(crate) fn arrived(&mut self, bytes: u32, took: Duration) {
        self.bytes = NEWEST * f64::from(bytes) + (1.0 - NEWEST) * self.bytes;
        self.seconds = NEWEST * took.as_secs_f64() + (1.0 - NEWEST) * self.seconds;
    }

    /// An update came too late, if all of it came: the link carries so many bytes in that time at most.
    pub(crate) fn came_late(&mut self, bytes: u32, took: Duration) {
        let most = Self { bytes: bytes.into(), seconds: took.as_secs_f64() };
        if self.seconds == 0.0 || most.bytes * self.seconds < self.bytes * most.seconds {
            *self = most;
        }
    }

    /// Most bytes for an update that has so much time; `None` when nothing is known.
    pub(crate) fn fits(&self, left: Duration) -> Option<u32> {
        let bytes = USABLE * left.as_secs_f64() * self.bytes / self.seconds;
        (self.seconds > 0.0).then_some((bytes as u32).max(BUDGET_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_fits_follows_the_link() {
        let mut link = Uplink::default();
        assert_eq!(link.fits(SECOND), None, "nothing is known");
        link.arrived(1000, SECOND);
        assert_eq!(link.fits(10 * SECOND), Some(5000), "half of the time");
        assert_eq!(link.fits(Duration::ZERO), Some(BUDGET_MIN));
        // Half as fast: (1000 / 4 + 1000 / 2) bytes in (1 / 4 + 2 / 2) seconds.
        link.arrived(1000, 2 * SECOND);
        assert_eq!(link.fits(10 * SECOND), Some(3000));
    }

    #[test]
    fn what_came_late_can_only_make_the_link_slower() {
        let mut link = Uplink::default();
        link.came_late(1000, 10 * SECOND);
        assert_eq!(link.fits(10 * SECOND), Some(500));
        // Refused at once: nothing was sent of it.
        link.came_late(1000, Duration::from_millis(1));
        assert_eq!(link.fits(10 * SECOND), Some(500));
        link.came_late(500, 10 * SECOND);
        assert_eq!(link.fits(10 * SECOND), Some(250));
    }

    #[test]
    fn a_link_that_takes_no_time_is_no_limit() {
        let mut link = Uplink::default();
        link.arrived(1000, Duration::ZERO);
        link.came_late(1000, Duration::ZERO);
        assert_eq!(link.fits(SECOND), None);
    }
}
