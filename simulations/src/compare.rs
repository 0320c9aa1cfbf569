//! Two reports side by side: what a federation reaches of the same training done in one place.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What a comparison needs of a report, the coordinator's or a simulation's.
#[derive(Debug, Deserialize)]
struct Report {
    rounds: Vec<Round>,
}

#[derive(Debug, Deserialize)]
struct Round {
    round: u32,
    ap50: Option<f64>,
    ap: Option<f64>,
    #[serde(default)]
    ap50_per_class: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    uplink_bytes: u64,
    #[serde(default)]
    evaluation_bytes: u64,
    #[serde(default)]
    dense_bytes: u64,
}

/// Compares the reports in two files, `one` with `other`: AP50 on the coordinator's own images per round and class, how much of
/// the other's last one the first reaches, and what it sent.
///
/// # Errors
/// Files that cannot be read or are not reports.
pub fn compare(one: &Path, other: &Path) -> Result<String> {
    let read = |path: &Path| -> Result<Report> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a report", path.display()))
    };
    Ok(table(&read(one)?, &read(other)?))
}

fn table(one: &Report, other: &Report) -> String {
    let last = one.rounds.iter().chain(&other.rounds).rev();
    let classes: Vec<&String> =
        last.map(|round| round.ap50_per_class.keys()).next().into_iter().flatten().collect();
    let mut text = format!("{:>5}", "round");
    for name in ["one", "other"] {
        let _ = write!(text, "  {:>7}", format!("{name} AP50"));
        classes.iter().for_each(|class| _ = write!(text, "  {class:>9}"));
    }
    text.push('\n');
    let longer = if one.rounds.len() >= other.rounds.len() { one } else { other };
    for place in 0..longer.rounds.len() {
        let _ = write!(text, "{:>5}", longer.rounds[place].round);
        for report in [one, other] {
            let round = report.rounds.get(place);
            let _ = write!(text, "  {:>10}", share(round.and_then(|round| round.ap50)));
            for class in &classes {
                let value = round.and_then(|round| round.ap50_per_class.get(*class).copied().flatten());
                let _ = write!(text, "  {:>9}", share(value));
            }
        }
        text.push('\n');
    }
    let mut figure = |name: &str, value: Option<f64>, unit: &str| {
        if let Some(value) = value {
            let _ = writeln!(text, "figure compare/{name} {value:.3} {unit}");
        }
    };
    let final_of = |report: &Report, value: fn(&Round) -> Option<f64>| report.rounds.last().and_then(value);
    let (ap50_one, ap50_other) = (final_of(one, |round| round.ap50), final_of(other, |round| round.ap50));
    figure("one/ap50", ap50_one, "AP50");
    figure("other/ap50", ap50_other, "AP50");
    figure("one/ap", final_of(one, |round| round.ap), "AP");
    figure("other/ap", final_of(other, |round| round.ap), "AP");
    figure("one_over_other", ap50_one.zip(ap50_other).map(|(one, other)| one / other), "x");
    let sum = |value: fn(&Round) -> u64| one.rounds.iter().map(value).sum::<u64>() as f64;
    let (dense, updates) = (sum(|round| round.dense_bytes), sum(|round| round.uplink_bytes));
    let with_evaluations = updates + sum(|round| round.evaluation_bytes);
    figure("one/dense_over_updates", (updates > 0.0).then(|| dense / updates), "x");
    figure("one/dense_over_updates_and_evaluations", (updates > 0.0).then(|| dense / with_evaluations), "x");
    text
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(last: f64) -> Report {
        let json = format!(
            r#"{{"title": "x", "rounds": [
                {{"round": 1, "ap50": null, "ap": null, "uplink_bytes": 10, "dense_bytes": 2000}},
                {{"round": 2, "ap50": {last}, "ap": 0.1, "ap50_per_class": {{"cat": {last}, "dog": null}},
                  "uplink_bytes": 10, "evaluation_bytes": 20, "dense_bytes": 2000}}]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_table_with_both_curves_and_the_ratios() {
        let text = table(&report(0.6), &report(0.8));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["round", "one", "AP50", "cat", "dog", "other", "AP50", "cat", "dog"]);
        assert_eq!(lines[1], ["1", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(lines[2], ["2", "0.600", "0.600", "-", "0.800", "0.800", "-"]);
        for figure in [
            "figure compare/one_over_other 0.750 x",
            "figure compare/one/dense_over_updates 200.000 x",
            "figure compare/one/dense_over_updates_and_evaluations 100.000 x",
        ] {
            assert!(text.contains(figure), "{text}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let refused = |expected: &str| {
            let refused = format!("{:#}", compare(&file, &file).unwrap_err());
            assert!(refused.contains(expected), "{refused}");
        };
        refused("cannot read");
        fs::write(&file, "{}").unwrap();
        refused("is not a report");
    }
}
