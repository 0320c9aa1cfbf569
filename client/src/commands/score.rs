//! `client score`: the twelve COCO figures of a detection file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use detection::coco::{CocoReport, score_json};

use crate::cli::Score;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

pub(super) fn execute(arguments: &Score) -> Result<ExitCode, Failure> {
    let Score { detections, annotations, output } = arguments;
    let report = score_json(&read(detections)?, &read(annotations)?).map_err(|error| {
        Failure::run(format!(
            "cannot score {} against {}: {error}",
            detections.display(),
            annotations.display()
        ))
    })?;
    if output.json {
        print_json(&report);
    } else {
        table(&report).iter().for_each(print_line);
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: cannot be read: {error}", path.display())))
}

/// The usual table.
pub(super) fn table(report: &CocoReport) -> Vec<String> {
    let rows = [
        ("Precision", "AP", "0.50:0.95", "all", 100, report.ap),
        ("Precision", "AP", "0.50", "all", 100, report.ap50),
        ("Precision", "AP", "0.75", "all", 100, report.ap75),
        ("Precision", "AP", "0.50:0.95", "small", 100, report.ap_small),
        ("Precision", "AP", "0.50:0.95", "medium", 100, report.ap_medium),
        ("Precision", "AP", "0.50:0.95", "large", 100, report.ap_large),
        ("Recall", "AR", "0.50:0.95", "all", 1, report.ar1),
        ("Recall", "AR", "0.50:0.95", "all", 10, report.ar10),
        ("Recall", "AR", "0.50:0.95", "all", 100, report.ar100),
        ("Recall", "AR", "0.50:0.95", "small", 100, report.ar_small),
        ("Recall", "AR", "0.50:0.95", "medium", 100, report.ar_medium),
        ("Recall", "AR", "0.50:0.95", "large", 100, report.ar_large),
    ];
    let row = |(figure, short, iou, area, detections, value): (&str, &str, &str, &str, u32, f64)| {
        format!(
            " Average {figure:<9} ({short}) @[ IoU={iou:<9} | area={area:>6} | maxDets={detections:>3} ] = {value:.3}"
        )
    };
    rows.map(row).to_vec()
}
