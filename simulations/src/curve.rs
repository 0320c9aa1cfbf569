//! Bytes against accuracy: what each run had moved per device, in both directions, when it scored what.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::chart::{Axis, Chart, Series};

/// A report with the name it has in the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Shown in the legend.
    pub name: String,
    /// A `report.json`.
    pub file: PathBuf,
}

impl std::str::FromStr for Named {
    type Err = String;

    /// `NAME=FILE`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err(format!("{text:?} is not NAME=FILE, for example dense=out/dense/report.json")),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Report {
    clients: u32,
    rounds: Vec<Round>,
}

#[derive(Debug, Deserialize)]
struct Round {
    ap50: Option<f64>,
    uplink_bytes: u64,
    evaluation_bytes: u64,
    downlink_bytes: u64,
}

/// One run: megabytes moved per device so far, and AP50 on the coordinator's images.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws the reports into the SVG file `out` and returns figures: of each, its last AP50 less that of the first one, and how many
/// times fewer bytes than the first one it took to reach 99 % of the first one's last AP50.
///
/// # Errors
/// Files that cannot be read or written, that are not reports, or that have no AP50.
pub fn curve(reports: &[Named], out: &Path) -> Result<String> {
    let curves = reports.iter().map(read).collect::<Result<Vec<_>>>()?;
    let names: BTreeSet<_> = reports.iter().map(|report| &report.name).collect();
    if names.len() < reports.len() {
        bail!("two reports have the same name");
    }
    fs::write(out, picture(&curves)).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(figures(&curves))
}

fn read(report: &Named) -> Result<Curve> {
    let Named { name, file } = report;
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("{} is not a report", file.display()))?;
    let mut bytes = 0;
    let points = report.rounds.iter().filter_map(|round| {
        bytes += round.uplink_bytes + round.evaluation_bytes + round.downlink_bytes;
        Some((bytes as f64 / 1e6 / f64::from(report.clients.max(1)), round.ap50?))
    });
    let points: Vec<_> = points.collect();
    if points.is_empty() {
        bail!("{} has no AP50: set central_score and a score_split in its scenario", file.display());
    }
    Ok(Curve { name: name.clone(), points })
}

fn picture(curves: &[Curve]) -> String {
    let series = |curve: &Curve| Series { name: curve.name.clone(), points: curve.points.clone() };
    let chart = Chart {
        title: "AP50 by bytes moved",
        x_label: "MB per device so far, both directions",
        y_label: "AP50",
        x_axis: Axis::Logarithmic,
        series: curves.iter().map(series).collect(),
    };
    chart.svg()
}

fn figures(curves: &[Curve]) -> String {
    let mut text = String::new();
    let Some((first, &(_, target))) = curves.first().and_then(|curve| Some((curve, curve.points.last()?)))
    else {
        return text;
    };
    let to_target = |curve: &Curve| {
        let reached = curve.points.iter().find(|(_, ap50)| *ap50 >= 0.99 * target);
        reached.map(|(megabytes, _)| *megabytes)
    };
    for curve in curves {
        let name = &curve.name;
        let Some(&(megabytes, ap50)) = curve.points.last() else { continue };
        let _ = writeln!(text, "figure curve/{name}/ap50 {ap50:.3} AP50");
        let _ = writeln!(text, "figure curve/{name}/bytes {megabytes:.3} MB");
        let _ = writeln!(text, "figure curve/{name}/points_over_first {:.1} points", 100.0 * (ap50 - target));
        match (to_target(first), to_target(curve)) {
            (Some(theirs), Some(ours)) => {
                let _ = writeln!(text, "figure curve/{name}/bytes_to_99_ratio {:.1} x", theirs / ours);
            }
            _ => {
                let _ = writeln!(text, "# {name} does not reach 99 % of the last AP50 of {}", first.name);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ap50: &[f64], bytes: u64) -> String {
        let round = |ap50: &f64| {
            format!(
                r#"{{"ap50": {ap50}, "uplink_bytes": {bytes}, "evaluation_bytes": 0, "downlink_bytes": {bytes}}}"#
            )
        };
        let rounds: Vec<String> = ap50.iter().map(round).collect();
        format!(r#"{{"clients": 2, "rounds": [{}]}}"#, rounds.join(","))
    }

    #[test]
    fn the_picture_has_every_run_and_the_figures_compare_with_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            format!("{name}={}", path.display()).parse::<Named>().unwrap()
        };
        let reports = [
            file("dense", report(&[0.2, 0.5, 0.6], 100_000_000)),
            file("sparse", report(&[0.1, 0.3, 0.5, 0.598], 1_000_000)),
            file("hopeless", report(&[0.1, 0.1], 10)),
        ];
        let out = folder.path().join("curve.svg");
        let figures = curve(&reports, &out).unwrap();
        for line in [
            "figure curve/dense/bytes 300.000 MB",
            "figure curve/dense/bytes_to_99_ratio 1.0 x",
            "figure curve/sparse/bytes_to_99_ratio 75.0 x",
            "figure curve/sparse/points_over_first -0.2 points",
            "# hopeless does not reach 99 % of the last AP50 of dense",
        ] {
            assert!(figures.contains(line), "{line} is not in\n{figures}");
        }
        let drawn = fs::read_to_string(out).unwrap();
        assert!(drawn.starts_with("<svg xmlns=") && drawn.matches("<polyline").count() == 3);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        assert!("dense".parse::<Named>().unwrap_err().contains("NAME=FILE"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::write(&path, r#"{"clients": 1, "rounds": []}"#).unwrap();
        let named = Named { name: "x".to_owned(), file: path };
        let refused = |reports: &[Named]| curve(reports, &folder.path().join("o")).unwrap_err().to_string();
        assert!(refused(std::slice::from_ref(&named)).contains("has no AP50"));
        fs::write(&named.file, report(&[0.5], 1)).unwrap();
        assert!(refused(&[named.clone(), named]).contains("the same name"));
    }
}
