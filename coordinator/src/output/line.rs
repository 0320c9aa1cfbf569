//! A round in one line.

use coordinator_core::{RoundReport, Status};

/// `round 3/20  AP50 0.412, on devices 0.380 global 0.455 personal  4 updates  up 41 kB (1/210 of dense)  down 5.2 MB  63 s`
pub(super) fn round(report: &RoundReport, rounds: u32) -> String {
    let mut parts = vec![format!("round {}", report.round)];
    if report.abandoned {
        parts.push(format!("abandoned, still version {}/{rounds}", report.version));
    } else {
        parts.push(format!("version {}/{rounds}", report.version));
    }
    if let Some(ap50) = report.ap50 {
        parts.push(format!("AP50 {ap50:.3}"));
    }
    let global = report.ap50_global.map(|ap| format!("{ap:.3} global"));
    let personal = report.ap50_personal.map(|ap| format!("{ap:.3} personal"));
    let on_devices: Vec<_> = global.into_iter().chain(personal).collect();
    if !on_devices.is_empty() {
        parts.push(format!("on devices {}", on_devices.join(" ")));
    }
    parts.push(format!("{} of {} updates", report.contributors, report.asked));
    let refused: u32 = report.refused.values().sum();
    if refused > 0 {
        parts.push(format!("{refused} refused"));
    }
    let dense = report.dense_bytes as f64 / report.uplink_bytes.max(1) as f64;
    let ratio = if report.uplink_bytes > 0 { format!(" (1/{dense:.0} of dense)") } else { String::new() };
    parts.push(format!("up {}{ratio}", bytes(report.uplink_bytes)));
    parts.push(format!("down {}", bytes(report.downlink_bytes)));
    if let (Some(up), Some(down)) = (report.wire_uplink_bytes, report.wire_downlink_bytes) {
        parts.push(format!("on the wire {} up {} down", bytes(up), bytes(down)));
    }
    parts.push(format!("{:.0} s", report.seconds));
    parts.join("  ")
}

/// What is going on, beside the bar.
pub(super) fn status(status: &Status) -> String {
    match status.phase {
        "collecting" => format!(
            "round {}: {} of {} updates",
            status.round,
            status.answered,
            status.answered + status.awaited
        ),
        "evaluating" => format!("{} of {} evaluations", status.answered, status.answered + status.awaited),
        "waiting" => format!("waiting, {} clients connected", status.connected),
        phase => phase.to_owned(),
    }
}

/// A size for people: `41 kB`, `5.2 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit > 0 && value < 9.95 {
        format!("{value:.1} {}", units[unit])
    } else {
        format!("{value:.0} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_to_three_digits() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (41_234, "41 kB"), (999_700, "1.0 MB")];
        for (size, expected) in sizes {
            assert_eq!(bytes(size), expected);
        }
        assert_eq!(bytes(5_200_000_000), "5.2 GB");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }
}
