//! `client evaluate`: the shared and the device's own model on labelled images.

use std::process::ExitCode;

use detection::coco::CocoReport;
use protocol::id::{RunId, Version};
use serde::Serialize;

use crate::cli::Evaluate;
use crate::failure::Failure;
use crate::folder::{DataChoice, Folder};
use crate::happening::as_text;
use crate::images::{left_out, open_to_score};
use crate::learning::{Resources, held_out, score};
use crate::output::{print_json, print_line};
use crate::stored::StoredModel;

/// What `--json` prints.
#[derive(Serialize)]
struct Evaluation {
    #[serde(serialize_with = "as_text")]
    run: RunId,
    version: Version,
    images: u32,
    boxes: u32,
    global: CocoReport,
    personal: CocoReport,
}

pub(super) fn execute(arguments: &Evaluate) -> Result<ExitCode, Failure> {
    let Evaluate { state, data, split, all, compute, output } = arguments;
    let resources = Resources::new(compute)?;
    let (folder, member) = Folder::look(&state.path)?;
    let stored = StoredModel::read(&folder)?;
    let choice = folder.data_choice()?;
    let split = split.as_deref().or(choice.as_ref().and_then(|choice| choice.split.as_deref()));
    let about = &stored.last.about;

    let mut dataset = open_to_score(data, split, &about.spec.classes)?;
    for line in left_out(data, &dataset) {
        eprintln!("left out: {line}");
    }
    if !all {
        let Some(DataChoice { held_out: share, .. }) = choice else {
            return Err(Failure::usage("no images are held out yet: score on all of them with --all"));
        };
        dataset = held_out(&dataset, &member.client, share);
    }
    if !dataset.samples.iter().any(|sample| sample.labelled) {
        let hint = if *all { "" } else { ", none is held out: score on all of them with --all" };
        return Err(Failure::usage(format!("{}: there is no image to score on{hint}", data.display())));
    }
    let scores = score(&stored, dataset, resources)?;
    let evaluation = Evaluation {
        run: about.run,
        version: about.version,
        images: scores.images,
        boxes: scores.boxes,
        global: scores.global,
        personal: scores.personal,
    };
    if output.json {
        print_json(&evaluation);
    } else {
        table(&evaluation).iter().for_each(print_line);
    }
    Ok(ExitCode::SUCCESS)
}

fn table(evaluation: &Evaluation) -> Vec<String> {
    let Evaluation { version, images, boxes, global, personal, .. } = evaluation;
    let mut lines = vec![format!("version {version} on {images} images with {boxes} objects"), String::new()];
    lines.push(format!("{:24} {:>8} {:>8} {:>9}", "", "objects", "global", "personal"));
    for (name, global, personal) in [
        ("AP", global.ap, personal.ap),
        ("AP50", global.ap50, personal.ap50),
        ("AP75", global.ap75, personal.ap75),
    ] {
        lines.push(format!("{name:24} {:>8} {} {}", "", figure(global, 8), figure(personal, 9)));
    }
    for (class, of_global) in &global.classes {
        let of_personal = personal.classes.get(class).map_or(-1.0, |figures| figures.ap50);
        let name = format!("AP50 {class}");
        let objects = of_global.objects;
        lines.push(format!(
            "{name:24} {objects:>8} {} {}",
            figure(of_global.ap50, 8),
            figure(of_personal, 9)
        ));
    }
    lines
}

/// A figure, or a dash where there is nothing to find.
fn figure(value: f64, width: usize) -> String {
    if value < 0.0 { format!("{:>width$}", "-") } else { format!("{value:>width$.3}") }
}
