//! How often the device takes part, and what that makes of what it has not sent.
//!
//! What is held back was learned from an old version. Away for long, the device would release it on a model that has moved on; the usual
//! distance between its rounds is accounted for by the plan's decay (`codec::residual`).

use protocol::id::Version;
use serde::{Deserialize, Serialize};

/// What remains of a residual for each version that the device was away longer than usual.
const KEPT_PER_VERSION: f32 = 0.98;
/// Versions after which nothing remains.
const AWAY_MAX: u32 = 100;
/// What the last distance counts for beside all before it.
const NEWEST: f32 = 0.25;

/// When the device last took part, and how far its rounds usually are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    last: Option<Version>,
    /// In versions.
    usual: Option<f32>,
}

impl Pace {
    /// Takes part from `version` on; the share of the residual that remains for its age, 0 to 1.
    pub(crate) fn takes_part(&mut self, version: Version) -> f32 {
        let Some(last) = self.last.replace(version) else { return 1.0 };
        if version < last {
            // The run has gone back: what was learned since is of a model that does not exist any more.
            return 0.0;
        }
        let away = version.0 - last.0;
        let usual = self.usual.unwrap_or(away as f32);
        let longer = (away as f32 - usual).max(0.0);
        self.usual = Some(usual + NEWEST * (away as f32 - usual));
        if away > AWAY_MAX { 0.0 } else { KEPT_PER_VERSION.powf(longer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The versions that a device takes part from, and what remains of its residual each time.
    #[track_caller]
    fn check(versions: &[u32], expected: &[f32]) {
        let mut pace = Pace::default();
        let remains: Vec<f32> = versions.iter().map(|&version| pace.takes_part(Version(version))).collect();
        assert!(
            remains.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4),
            "{versions:?}: {remains:?}"
        );
        assert_eq!(remains.len(), expected.len());
    }

    #[test]
    fn what_remains_follows_from_how_long_the_device_was_away() {
        // In every round; after every fourth; a version again, because its round was abandoned.
        check(&[0, 1, 2, 3], &[1.0; 4]);
        check(&[5, 9, 13, 17], &[1.0; 4]);
        check(&[0, 1, 1, 2], &[1.0, 1.0, 1.0, 0.995]);
        // 10 versions away instead of one: 0.98^9. Then that is expected by a quarter: 3.25.
        check(&[0, 1, 11, 21], &[1.0, 1.0, 0.8337, 0.8725]);
        // As far away as may be, and further.
        check(&[0, 100, 201, 202], &[1.0, 1.0, 0.0, 1.0]);
        // The coordinator has lost versions.
        check(&[0, 1, 2, 1, 2], &[1.0, 1.0, 1.0, 0.0, 1.0]);
    }
}
