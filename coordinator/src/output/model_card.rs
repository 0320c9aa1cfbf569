//! The model card: what the model is, how it was made, what it can do, and what is not known about it.

use coordinator_core::{Published, RoundReport, Settings};
use protocol::plan::ModelSpec;

use super::bytes;

pub(super) fn text(
    settings: &Settings,
    spec: &ModelSpec,
    published: &Published,
    reports: &[RoundReport],
) -> String {
    let rounds: Vec<_> = reports.iter().filter(|report| !report.abandoned).collect();
    let contributions: u32 = rounds.iter().map(|report| report.contributors).sum();
    let uplink: u64 = reports.iter().map(|report| report.uplink_bytes).sum();
    let dense: u64 = reports.iter().map(|report| report.dense_bytes).sum();
    let classes = spec.classes.join(", ");
    let parameters = published.model.ticks().len();
    let train = &settings.train;
    format!(
        "# Object detector {preset}\n\n\
         Finds {classes} in photographs. Trained with Fovea: the images stayed on the devices that took part, which sent\n\
         compressed weight updates only.\n\n\
         | | |\n| --- | --- |\n\
         | architecture | {preset}: MobileNet backbone, light neck, anchor-free head; {parameters} shared parameters |\n\
         | classes, in output order | {classes} |\n\
         | version, digest of the weights | {version}, `{digest}` |\n\
         | rounds that made a version | {rounds} |\n\
         | updates | {contributions}, {uplink} in all, {ratio} |\n\
         | local training | {epochs} epochs a round, batch {batch}, peak learning rate {rate} |\n\
         | seed | {seed} |\n\n\
         ## How well it does\n\n{scores}\n\
         ## What to know before using it\n\n\
         - The weights file holds the shared weights and batch-norm statistics pooled over devices. Devices that took part also\n  \
           keep a class layer of their own, which is not in it.\n\
         - Nobody has looked at the devices' images or labels: what they show, and how carefully they are labelled, is known to\n  \
           their owners alone.\n\
         - Scores hold for images like those it was scored on. Test it on yours before anything depends on it.\n\
         - Updates are not anonymous and no noise was added to them: the coordinator's operator could learn from single updates.\n",
        preset = spec.preset,
        version = published.version,
        digest = published.digest,
        rounds = rounds.len(),
        uplink = bytes(uplink),
        ratio = if uplink > 0 {
            format!("1/{:.0} of dense", dense as f64 / uplink as f64)
        } else {
            "-".to_owned()
        },
        epochs = train.local_epochs,
        batch = train.batch,
        rate = train.learning_rate,
        seed = settings.seed,
        scores =
            rounds.last().map_or_else(|| "It has not been scored.\n".to_owned(), |report| scores(report)),
    )
}

fn scores(report: &RoundReport) -> String {
    let mut lines = Vec::new();
    let mut row = |what: &str, figure: Option<f64>| {
        if let Some(figure) = figure {
            lines.push(format!("| {what} | {figure:.3} |"));
        }
    };
    row("AP50 on the coordinator's images", report.ap50);
    row("AP (IoU 0.50 to 0.95) on the coordinator's images", report.ap);
    row("AP50 on the devices' held-out images, mean over devices", report.ap50_global);
    row("the same, worst device", report.ap50_worst);
    row("the same, with the devices' own class layers", report.ap50_personal);
    row("AP50 over all devices' held-out images together", report.ap50_merged);
    for (class, figure) in &report.ap50_per_class {
        row(&format!("AP50 of {class} on the coordinator's images"), *figure);
    }
    if lines.is_empty() {
        return "It has not been scored: there was no `--eval-data`, and no device held images out.\n"
            .to_owned();
    }
    format!("| figure | last round |\n| --- | --- |\n{}\n", lines.join("\n"))
}
