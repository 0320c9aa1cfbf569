//! How fast a device computes, how wide its link is, and how often it stays away.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use thiserror::Error;

/// The fleet, as a scenario describes it. Every device draws its own figures once, from the scenario's seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FleetSpec {
    /// Number of devices.
    pub count: u32,
    /// Training speed, images per second: slowest and fastest (log-uniform between).
    pub images_per_second: [f64; 2],
    /// Uplink, bytes per second: slowest and fastest (log-uniform).
    pub uplink_bytes_per_second: [f64; 2],
    /// Downlink, bytes per second: slowest and fastest (log-uniform).
    pub downlink_bytes_per_second: [f64; 2],
    /// One-way delay of a message, milliseconds: shortest and longest (uniform).
    pub delay_ms: [f64; 2],
    /// Probability that a device loses its session while it works on a round, 0..1.
    pub drop_out: f64,
    /// How long a device that dropped out stays away, seconds.
    pub away_s: f64,
}

impl Default for FleetSpec {
    fn default() -> Self {
        Self {
            count: 4,
            images_per_second: [5.0, 50.0],
            uplink_bytes_per_second: [50e3, 2e6],
            downlink_bytes_per_second: [200e3, 10e6],
            delay_ms: [5.0, 80.0],
            drop_out: 0.0,
            away_s: 60.0,
        }
    }
}

/// A fleet setting out of range.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("devices.{setting} is {found}, but must be {expected}")]
pub struct FleetError {
    setting: &'static str,
    found: String,
    expected: &'static str,
}

impl FleetSpec {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range.
    pub fn check(&self) -> Result<(), FleetError> {
        let ranges = [
            ("images_per_second", self.images_per_second),
            ("uplink_bytes_per_second", self.uplink_bytes_per_second),
            ("downlink_bytes_per_second", self.downlink_bytes_per_second),
        ];
        for (setting, range) in ranges {
            if !(range[0] > 0.0 && range[0] <= range[1] && range[1].is_finite()) {
                let expected = "two positive numbers, the smaller first";
                return Err(FleetError { setting, found: format!("{range:?}"), expected });
            }
        }
        if !(self.delay_ms[0] >= 0.0 && self.delay_ms[0] <= self.delay_ms[1] && self.delay_ms[1].is_finite())
        {
            let expected = "two numbers from 0, the smaller first";
            return Err(FleetError { setting: "delay_ms", found: format!("{:?}", self.delay_ms), expected });
        }
        if !(0.0..1.0).contains(&self.drop_out) {
            let expected = "from 0 to below 1";
            return Err(FleetError { setting: "drop_out", found: self.drop_out.to_string(), expected });
        }
        if !(self.away_s >= 0.0 && self.away_s.is_finite()) {
            let expected = "a number of seconds from 0";
            return Err(FleetError { setting: "away_s", found: self.away_s.to_string(), expected });
        }
        if self.count == 0 {
            return Err(FleetError { setting: "count", found: "0".into(), expected: "at least 1" });
        }
        Ok(())
    }
}

/// One device's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// Training speed, images per second.
    pub images_per_second: f64,
    /// Uplink, bytes per second.
    pub uplink_bytes_per_second: f64,
    /// Downlink, bytes per second.
    pub downlink_bytes_per_second: f64,
    /// One-way delay of a message.
    pub delay: Duration,
}

impl Device {
    /// Draws a device from the fleet.
    pub fn draw(fleet: &FleetSpec, random: &mut ChaCha8Rng) -> Self {
        let mut between = |[low, high]: [f64; 2]| low * (high / low).powf(random.random_range(0.0..=1.0));
        let images_per_second = between(fleet.images_per_second);
        let uplink_bytes_per_second = between(fleet.uplink_bytes_per_second);
        let downlink_bytes_per_second = between(fleet.downlink_bytes_per_second);
        let delay_ms = random.random_range(fleet.delay_ms[0]..=fleet.delay_ms[1]);
        let delay = Duration::from_secs_f64(delay_ms / 1000.0);
        Self { images_per_second, uplink_bytes_per_second, downlink_bytes_per_second, delay }
    }

    /// Time to pass over `images` images `epochs` times.
    pub fn training(&self, images: u32, epochs: u32) -> Duration {
        Duration::from_secs_f64(f64::from(images) * f64::from(epochs) / self.images_per_second)
    }

    /// Time to score `images` images: a forward pass costs a third of a training step.
    pub fn scoring(&self, images: u32) -> Duration {
        Duration::from_secs_f64(f64::from(images) / (3.0 * self.images_per_second))
    }

    /// Time for `bytes` to go up, delay included.
    pub fn up(&self, bytes: u64) -> Duration {
        self.delay + Duration::from_secs_f64(bytes as f64 / self.uplink_bytes_per_second)
    }

    /// Time for `bytes` to come down, delay included.
    pub fn down(&self, bytes: u64) -> Duration {
        self.delay + Duration::from_secs_f64(bytes as f64 / self.downlink_bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn devices_stay_within_the_fleet_and_come_from_the_seed() {
        let fleet = FleetSpec::default();
        let draw = |seed| Device::draw(&fleet, &mut ChaCha8Rng::seed_from_u64(seed));
        for seed in 0..200 {
            let device = draw(seed);
            assert!((5.0..=50.0).contains(&device.images_per_second));
            assert!((50e3..=2e6).contains(&device.uplink_bytes_per_second));
            assert_eq!(device, draw(seed));
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |spec: FleetSpec| spec.check().unwrap_err().to_string();
        let text = refused(FleetSpec { drop_out: 1.0, ..FleetSpec::default() });
        assert_eq!(text, "devices.drop_out is 1, but must be from 0 to below 1");
        assert!(refused(FleetSpec { count: 0, ..FleetSpec::default() }).contains("devices.count"));
        let text = refused(FleetSpec { images_per_second: [9.0, 3.0], ..FleetSpec::default() });
        assert!(text.contains("images_per_second is [9.0, 3.0]"));
    }
}
