use super::*;
use crate::central::CentralEvaluator;
use crate::initial::initial;
use crate::testing::{plan, scenes};
use protocol::id::{Round, Version};

fn trainer(images: u64) -> DetectorTrainer {
    let config = TrainerConfig { threads: 1, held_out: 0.25, batch: 4, ..TrainerConfig::default() };
    DetectorTrainer::new(&scenes(images), config).unwrap()
}

fn spec(classes: &[String]) -> ModelSpec {
    ModelSpec { preset: "nano96@32".to_owned(), classes: classes.to_vec() }
}

fn start(spec: &ModelSpec) -> DeviceModel {
    let architecture = Architecture::new(spec).unwrap();
    split(architecture.layout(), &initial(&architecture, 1))
}

#[test]
fn a_round_as_the_client_core_drives_it() {
    let mut trainer = trainer(16);
    let summary = trainer.summary();
    assert_eq!((summary.examples, summary.held_out), (12, 4));
    let spec = spec(&summary.classes);
    let layout = trainer.prepare(&spec).unwrap();
    assert_eq!(trainer.prepare(&spec).unwrap(), layout);
    let model = start(&spec);
    let plan = plan(4);
    let job = TrainJob { round: Round(1), seed: 3, plan, model: model.clone() };
    let outcome = trainer.train(job).unwrap();
    assert_eq!((outcome.examples, outcome.steps), (12, 3));
    assert!(outcome.loss.is_finite() && outcome.loss > 0.0);
    assert_ne!(outcome.model.shared, model.shared);
    assert_ne!(outcome.model.personal, model.personal);
    assert_ne!(outcome.model.statistics, model.statistics);

    for norm in [Norm::Local, Norm::Frozen] {
        let job = EvaluateJob { version: Version(1), seed: 4, norm, model: outcome.model.clone() };
        let scored = trainer.evaluate(job).unwrap();
        assert_eq!(scored.evaluation.images, 4);
        assert!(scored.evaluation.boxes > 0);
        assert!(scored.evaluation.statistics.is_empty(), "the client core encodes them");
        let own = scored.statistics != outcome.model.statistics;
        assert_eq!(
            (own, scored.statistics_images),
            if norm == Norm::Local { (true, 12) } else { (false, 0) }
        );
    }
}

#[test]
fn a_run_with_other_classes_trains_only_what_the_device_annotates() {
    let mut trainer = trainer(8);
    let mut classes = vec!["unicorn".to_owned()];
    classes.extend(trainer.summary().classes);
    let spec = spec(&classes);
    trainer.prepare(&spec).unwrap();
    let architecture = Architecture::new(&spec).unwrap();
    let model = start(&spec);
    let plan = protocol::plan::TrainPlan { weight_decay: 0.0, ..plan(4) };
    let outcome = trainer.train(TrainJob { round: Round(1), seed: 3, plan, model: model.clone() }).unwrap();
    let values = join(architecture.layout(), &outcome.model).unwrap();
    let before = join(architecture.layout(), &model).unwrap();
    // The unicorn's row of either class layer is not touched, the others are.
    for name in ["head.class.weight", "personal.head.class.weight"] {
        let range = architecture.layout().find(name).unwrap().range();
        let row = range.len() / classes.len();
        assert_eq!(values[range.clone()][..row], before[range.clone()][..row], "{name}");
        assert_ne!(values[range.clone()][row..], before[range][row..], "{name}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut trainer = trainer(4);
    let spec = spec(&trainer.summary().classes);
    let model = start(&spec);
    let job =
        |model: &DeviceModel| TrainJob { round: Round(1), seed: 3, plan: plan(4), model: model.clone() };
    assert!(matches!(trainer.train(job(&model)), Err(TrainError::Model(_))), "prepare comes first");
    let unknown = ModelSpec { preset: "toy".to_owned(), classes: spec.classes.clone() };
    assert!(matches!(trainer.prepare(&unknown), Err(TrainError::Model(_))));
    trainer.prepare(&spec).unwrap();
    let little = TrainerConfig { memory_bytes: Some(1 << 20), ..trainer.config.clone() };
    let mut modest = DetectorTrainer::new(&scenes(4), little).unwrap();
    modest.prepare(&spec).unwrap();
    assert!(matches!(modest.train(job(&model)), Err(TrainError::Memory { images: 3, granted_mb: 1, .. })));
    let mut short = model;
    short.personal.pop();
    let refused = trainer.train(job(&short)).unwrap_err();
    assert!(matches!(refused, TrainError::Length { scope: "personal", .. }), "{refused}");
    let mut unlabelled = scenes(2);
    unlabelled.samples.iter_mut().for_each(|sample| sample.labelled = false);
    assert!(matches!(DetectorTrainer::new(&unlabelled, TrainerConfig::default()), Err(TrainError::Data(_))));
}

#[test]
fn the_coordinator_scores_what_was_published() {
    let dataset = scenes(6);
    let spec = spec(&dataset.classes);
    let model = start(&spec);
    let config = TrainerConfig { threads: 1, ..TrainerConfig::default() };
    let central = CentralEvaluator::new(dataset, &spec, config.clone()).unwrap();
    assert_eq!(central.images(), 6);
    let score = central.score(&model.shared, &model.statistics).unwrap();
    assert_eq!(score.ap50_per_class.len(), 3);
    let refused = central.score(&model.shared[1..], &model.statistics).unwrap_err();
    assert!(matches!(refused, TrainError::Length { scope: "shared", .. }));
    assert!(matches!(CentralEvaluator::new(Dataset::default(), &spec, config), Err(TrainError::Data(_))));
}
