//! Central training on a folder of labelled images, with the figures that a federated run is compared to.
//!
//! ```text
//! cargo run -p model --release --example train_voc -- DIR --split trainval --test test --preset small256 --epochs 20
//! ```
//!
//! Prints one line per evaluation and `figure` lines at the end. The score is of the averaged weights, with statistics
//! collected under them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use dataset::{Dataset, DecodeLimits, OpenOptions, open};
use model::calibrate::calibrate;
use model::device::pool;
use model::evaluate::{DetectConfig, evaluate};
use model::examples::Examples;
use model::fit::Fit;
use model::initial::{adopt_class_layer, initial};
use model::{Architecture, Backend};
use protocol::plan::{ClassLoss, Freeze, ModelSpec, Norm, Optimiser, TrainPlan};

/// Trains a detector on one folder and scores it on another split.
#[derive(Debug, Parser)]
struct Args {
    /// Folder with images and labels (VOC, COCO or YOLO).
    dir: PathBuf,
    /// Split to train on; everything without it.
    #[arg(long)]
    split: Option<String>,
    /// Split to score on.
    #[arg(long, default_value = "test")]
    test: String,
    /// Detector, for example small256 or small256@320.
    #[arg(long, default_value = "small256")]
    preset: String,
    /// Passes over the images.
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// Images per step.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Images per forward pass; the whole batch without it.
    #[arg(long)]
    micro_batch: Option<u32>,
    /// Peak learning rate.
    #[arg(long, default_value_t = 0.003)]
    rate: f32,
    /// Weight decay.
    #[arg(long, default_value_t = 0.05)]
    weight_decay: f32,
    /// Nesterov momentum instead of AdamW.
    #[arg(long)]
    sgd: bool,
    /// Limit of the average's decay; 0 scores the last weights.
    #[arg(long, default_value_t = 0.998)]
    ema: f32,
    /// Steps of assignment by centres at the start.
    #[arg(long, default_value_t = 200)]
    static_steps: u32,
    /// Probability of a mosaic.
    #[arg(long, default_value_t = 0.0)]
    mosaic: f32,
    /// No horizontal flips.
    #[arg(long)]
    no_flip: bool,
    /// Vertical flips.
    #[arg(long)]
    flip_vertical: bool,
    /// Train the head, or neck and head, only.
    #[arg(long, value_parser = ["head", "neck-head", "none"], default_value = "none")]
    freeze: String,
    /// Keep the statistics the weights came with.
    #[arg(long)]
    frozen_norm: bool,
    /// Start weights: Fovea's, or torchvision's MobileNetV2.
    #[arg(long)]
    init: Option<PathBuf>,
    /// Where to save the result.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of weights, order and augmentation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Backend.
    #[arg(long, default_value = "flex")]
    device: Backend,
    /// Threads; all cores without it.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Say which layer gives a value that is not finite first.
    #[arg(long)]
    check_finite: bool,
    /// Epochs between evaluations.
    #[arg(long, default_value_t = 1)]
    every: u32,
}

impl Args {
    fn plan(&self, steps: u32) -> TrainPlan {
        TrainPlan {
            local_epochs: self.epochs,
            batch: self.batch,
            micro_batch: self.micro_batch.unwrap_or(self.batch),
            optimiser: if self.sgd { Optimiser::Sgd } else { Optimiser::AdamW },
            learning_rate: self.rate,
            weight_decay: self.weight_decay,
            clip_norm: 10.0,
            ema_decay: self.ema,
            progress_start: 0.0,
            progress_end: 1.0,
            // A tenth of the run, at most 100 steps.
            warm_up: (100.0 / steps as f32).min(0.1),
            final_rate: 0.02,
            freeze: match self.freeze.as_str() {
                "head" => Freeze::Head,
                "neck-head" => Freeze::NeckHead,
                _ => Freeze::None,
            },
            norm: if self.frozen_norm { Norm::Frozen } else { Norm::Local },
            class_loss: ClassLoss::QualityFocal,
            static_assignment: false,
            mosaic: self.mosaic,
            flip: !self.no_flip,
            flip_vertical: self.flip_vertical,
        }
    }

    fn open(&self, split: Option<&str>, classes: Option<Vec<String>>) -> anyhow::Result<Dataset> {
        let options = OpenOptions { split: split.map(str::to_owned), classes, ..OpenOptions::default() };
        Ok(open(&self.dir, &options)?)
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let train = args.open(args.split.as_deref(), None)?;
    let test = args.open(Some(&args.test), Some(train.classes.clone()))?;
    let spec = ModelSpec { preset: args.preset.clone(), classes: train.classes.clone() };
    let architecture = Architecture::new(&spec)?;
    let mut values = initial(&architecture, args.seed);
    if let Some(path) = &args.init {
        let start = export::load_start(path, architecture.layout(), &mut values)?;
        adopt_class_layer(&architecture, &mut values);
        println!("start: {} tensors of {:?} from {}", start.tensors, start.origin, path.display());
    }
    let examples = |dataset: Dataset| {
        Examples::new(
            dataset,
            architecture.classes(),
            architecture.pixels(),
            1 << 30,
            DecodeLimits::default(),
        )
    };
    let (train, test) = (examples(train), examples(test));
    let plan = args.plan(train.len().div_ceil(args.batch as usize) as u32 * args.epochs);
    let device = args.device.device();
    let batch = args.batch as usize;
    println!(
        "{}: {} parameters, {} classes, {} training and {} test images",
        architecture.preset(),
        architecture.parameters(),
        spec.classes.len(),
        train.len(),
        test.len()
    );
    pool(args.threads)?.install(|| -> anyhow::Result<()> {
        let mut fit = Fit::new(&architecture, &train, &device, &plan, values, args.seed)?
            .static_steps(args.static_steps)
            .check_finite(args.check_finite);
        let mut training = Duration::ZERO;
        let mut images = 0;
        let mut scored = None;
        for number in 1..=args.epochs {
            let start = Instant::now();
            let epoch = fit.epoch()?;
            training += start.elapsed();
            images += epoch.images;
            print!(
                "epoch {number:3}  loss {:.3}  iou {:.3}  norm {:6.2}  {:5.1} img/s",
                epoch.loss,
                epoch.iou,
                epoch.gradient_norm,
                f64::from(epoch.images) / start.elapsed().as_secs_f64()
            );
            if number % args.every == 0 || number == args.epochs {
                let mut values = fit.values().to_vec();
                if !args.frozen_norm {
                    calibrate(&architecture, &train, &device, &mut values, batch, args.seed)?;
                }
                let found =
                    evaluate(&architecture, &test, &device, &values, batch, &DetectConfig::default())?;
                let report = found.shared.report();
                let central = found.shared.central(architecture.classes());
                let per_class: Vec<String> = architecture
                    .classes()
                    .iter()
                    .zip(&central.ap50_per_class)
                    .map(|(name, ap)| format!("{name} {:.3}", ap.unwrap_or(-1.0)))
                    .collect();
                let personal = found.personal.report().ap50;
                print!(
                    "  AP50 {:.3} (personal {personal:.3})  AP {:.3}  {}",
                    report.ap50,
                    report.ap,
                    per_class.join("  ")
                );
                scored = Some(report);
                if let Some(path) = &args.out {
                    let about = export::describe(&architecture.preset().to_string(), architecture.classes());
                    export::save_safetensors(path, architecture.layout(), &values, &about)?;
                }
            }
            println!();
        }
        let report = scored.context("no epoch was scored")?;
        println!("figure central/{}/ap50 {:.4}", architecture.preset(), report.ap50);
        println!("figure central/{}/ap {:.4}", architecture.preset(), report.ap);
        let speed = f64::from(images) / training.as_secs_f64();
        println!("figure central/{}/speed {speed:.1} img/s", architecture.preset());
        Ok(())
    })
}
