//! The data check: what a folder holds and what is wrong with it, for people and for scripts.

use serde::Serialize;

use crate::problem::{Problem, Severity};
use crate::sample::Dataset;

/// The result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Usable images.
    pub images: usize,
    /// Images with at least one box that counts.
    pub with_objects: usize,
    /// Images that were looked at and show no object.
    pub negative: usize,
    /// Images that nobody labelled.
    pub unlabelled: usize,
    /// Boxes that count.
    pub boxes: usize,
    /// Crowds and difficult objects.
    pub ignored: usize,
    /// One entry for each class, in class order.
    pub classes: Vec<ClassCount>,
    /// Side of a box (square root of its area) in pixels.
    pub box_side: Option<Quantiles>,
    /// Side of a box as a fraction of the side of its image: 1 is the whole image.
    pub box_fraction: Option<Quantiles>,
    /// Width of the images in pixels.
    pub image_width: Option<Quantiles>,
    /// Height of the images in pixels.
    pub image_height: Option<Quantiles>,
    /// What is wrong, with file and line.
    pub problems: Vec<Problem>,
}

/// How often a class occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Images with at least one box of it that counts.
    pub images: usize,
    /// Boxes of it that count.
    pub boxes: usize,
}

/// The smallest, largest and intermediate values of a list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The smallest value.
    pub min: f32,
    /// One in twenty values is at most this.
    pub p05: f32,
    /// One in four values is at most this.
    pub p25: f32,
    /// Half of the values are at most this.
    pub p50: f32,
    /// Three in four values are at most this.
    pub p75: f32,
    /// All but one in twenty values are at most this.
    pub p95: f32,
    /// The largest value.
    pub max: f32,
}

impl Quantiles {
    /// Nearest-rank quantiles: each is one of the values. `None` without values; NaN must not occur.
    pub fn of(mut values: Vec<f32>) -> Option<Self> {
        values.sort_unstable_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(share * last as f64).round() as usize];
        Some(Self {
            min: at(0.0),
            p05: at(0.05),
            p25: at(0.25),
            p50: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            max: at(1.0),
        })
    }
}

/// Counts what a data set holds. Images damaged behind their header only show after [`Dataset::verify`].
pub fn check(dataset: &Dataset) -> CheckReport {
    let mut classes: Vec<ClassCount> =
        dataset.classes.iter().map(|name| ClassCount { name: name.clone(), images: 0, boxes: 0 }).collect();
    let (mut with_objects, mut negative, mut unlabelled, mut ignored) = (0, 0, 0, 0);
    let (mut sides, mut fractions) = (Vec::new(), Vec::new());
    for sample in &dataset.samples {
        let present = sample.classes_present();
        match (sample.labelled, present.is_empty()) {
            (false, _) => unlabelled += 1,
            (true, true) => negative += 1,
            (true, false) => with_objects += 1,
        }
        for class in present {
            if let Some(count) = classes.get_mut(class as usize) {
                count.images += 1;
            }
        }
        for annotation in &sample.annotations {
            if annotation.ignore {
                ignored += 1;
                continue;
            }
            if let Some(count) = classes.get_mut(annotation.class as usize) {
                count.boxes += 1;
            }
            let area = annotation.area();
            sides.push(area.sqrt());
            fractions.push((area / (sample.width as f32 * sample.height as f32)).sqrt());
        }
    }
    CheckReport {
        images: dataset.samples.len(),
        with_objects,
        negative,
        unlabelled,
        boxes: sides.len(),
        ignored,
        classes,
        box_side: Quantiles::of(sides),
        box_fraction: Quantiles::of(fractions),
        image_width: Quantiles::of(dataset.samples.iter().map(|s| s.width as f32).collect()),
        image_height: Quantiles::of(dataset.samples.iter().map(|s| s.height as f32).collect()),
        problems: dataset.problems.clone(),
    }
}

impl CheckReport {
    /// Whether everything in the files can be used: no problem of severity error, and at least one box.
    pub fn ok(&self) -> bool {
        self.boxes > 0 && self.errors() == 0
    }

    /// How many problems leave something out.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.trouble.severity() == Severity::Error).count()
    }

    /// How many problems are only worth a look.
    pub fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }
}

/// A page of plain text, problems last, errors before warnings.
impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} images: {} with objects, {} without any, {} unlabelled",
            self.images, self.with_objects, self.negative, self.unlabelled
        )?;
        writeln!(f, "{} boxes, {} ignored (crowd or difficult)", self.boxes, self.ignored)?;
        let width = self.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "\n{:width$} {:>8} {:>8}", "class", "images", "boxes")?;
        for ClassCount { name, images, boxes } in &self.classes {
            writeln!(f, "{name:width$} {images:>8} {boxes:>8}")?;
        }
        writeln!(
            f,
            "\n{:20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "min", "5 %", "25 %", "50 %", "75 %", "95 %", "max"
        )?;
        let rows = [
            ("box side, pixels", self.box_side, 1),
            ("box side / image", self.box_fraction, 3),
            ("image width, pixels", self.image_width, 0),
            ("image height, pixels", self.image_height, 0),
        ];
        for (name, quantiles, digits) in rows {
            let Some(q) = quantiles else { continue };
            write!(f, "{name:20}")?;
            for value in [q.min, q.p05, q.p25, q.p50, q.p75, q.p95, q.max] {
                write!(f, " {value:>8.digits$}")?;
            }
            writeln!(f)?;
        }
        if self.problems.is_empty() {
            return writeln!(f, "\nno problems");
        }
        writeln!(f, "\n{} errors (something is left out), {} warnings", self.errors(), self.warnings())?;
        for severity in [Severity::Error, Severity::Warning] {
            for problem in self.problems.iter().filter(|p| p.trouble.severity() == severity) {
                let label = if severity == Severity::Error { "error" } else { "warning" };
                writeln!(f, "{label}: {problem}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
