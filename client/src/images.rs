//! The device's labelled images.

use std::path::Path;

use dataset::{Dataset, DecodeLimits, OpenOptions, Severity, UnknownClasses};
use protocol::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX};

use crate::failure::Failure;

/// Problems that are listed before the data check is recommended for the rest.
const LISTED_MAX: usize = 20;

/// Images to learn from: those that cannot be decoded are left out now, once, and not in the middle of a round.
pub(crate) fn open_to_learn(dir: &Path, split: Option<&str>) -> Result<Dataset, Failure> {
    let options = OpenOptions { split: split.map(str::to_owned), ..OpenOptions::default() };
    let mut dataset = dataset::open(dir, &options).map_err(Failure::usage)?;
    dataset.verify(&DecodeLimits::default());
    if !dataset.samples.iter().any(|sample| sample.labelled) {
        let help = "`client data check` says why";
        return Err(Failure::usage(format!("{}: no labelled image can be used: {help}", dir.display())));
    }
    check_classes(dir, &dataset.classes)?;
    Ok(dataset)
}

/// Images in a run's label space; what is of another class is left out.
pub(crate) fn open_to_score(dir: &Path, split: Option<&str>, classes: &[String]) -> Result<Dataset, Failure> {
    let options = OpenOptions {
        split: split.map(str::to_owned),
        classes: Some(classes.to_vec()),
        unknown_classes: UnknownClasses::LeaveOut,
        ..OpenOptions::default()
    };
    let mut dataset = dataset::open(dir, &options).map_err(Failure::usage)?;
    dataset.verify(&DecodeLimits::default());
    Ok(dataset)
}

/// What is left out of `dataset` and why, one line each, shortened if there is much.
pub(crate) fn left_out(dir: &Path, dataset: &Dataset) -> Vec<String> {
    let errors = || dataset.problems.iter().filter(|problem| problem.trouble.severity() == Severity::Error);
    let mut lines: Vec<String> = errors().take(LISTED_MAX).map(ToString::to_string).collect();
    let more = errors().count() - lines.len();
    if more > 0 {
        lines.push(format!("and {more} more: `client data check {}` lists them", dir.display()));
    }
    lines
}

/// What a coordinator would refuse is better refused here, where the folder is.
fn check_classes(dir: &Path, classes: &[String]) -> Result<(), Failure> {
    let refuse = |what: String| Err(Failure::usage(format!("{}: {what}", dir.display())));
    if classes.len() > CLASSES_MAX {
        return refuse(format!("{} classes, more than the {CLASSES_MAX} a run can have", classes.len()));
    }
    let bad = |class: &&String| class.len() > CLASS_NAME_BYTES_MAX || class.contains(char::is_control);
    match classes.iter().find(bad) {
        Some(class) => refuse(format!(
            "class name {:?} has control characters or more than {CLASS_NAME_BYTES_MAX} bytes",
            class.chars().take(40).collect::<String>()
        )),
        None => Ok(()),
    }
}
