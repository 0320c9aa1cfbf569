use std::sync::Arc;

use codec::statistics::{StatisticsLayout, encode_report};
use detection::boxes::BBox;
use detection::coco::{Evaluator, GroundTruth, Role};
use detection::decode::Detection;
use params::{Canonical, Digest};
use protocol::id::{Round, Version};

use super::*;
use crate::report::Ending;
use crate::tests::support::{initial, layout, settings};

fn published() -> Published {
    let shared = Arc::new(layout().of_scope(Scope::Shared));
    let model = Canonical::from_values(shared, &initial().shared).unwrap();
    let statistics = initial().statistics;
    Published {
        version: Version(1),
        layout: Arc::new(layout()),
        digest: Digest([0; 32]),
        model,
        statistics,
        optimiser: Vec::new(),
        residual: Vec::new(),
    }
}

fn none_yet() -> Evaluations {
    let fine = settings(|settings| settings.downlink.statistics_step = 1.0 / 64.0);
    Evaluations::new(&RunConfig::new(fine).unwrap(), &published(), 2)
}

/// Statistics of a device: both channels with this mean and variance.
fn statistics(mean: f32, var: f32) -> Vec<u8> {
    let layout = StatisticsLayout::new(&layout().of_scope(Scope::Statistic)).unwrap();
    encode_report(&layout, &published().statistics, &[mean, mean, var, var], Share::ALL, 1000).unwrap()
}

fn evaluation(global: f64, personal: f64) -> Evaluation {
    let score = |ap50: f64| ModelScore { ap50, ap: ap50 / 2.0, histogram: Vec::new() };
    Evaluation {
        images: 4,
        boxes: 9,
        global: score(global),
        personal: score(personal),
        ..Evaluation::default()
    }
}

fn filled(evaluations: &Evaluations) -> RoundReport {
    let totals = crate::contributions::Totals::default();
    let mut report = RoundReport::new(Round(1), &published(), Ending::Goal, &totals);
    evaluations.fill(&mut report);
    report
}

#[test]
fn means_and_worst_are_over_clients_with_boxes() {
    let mut evaluations = none_yet();
    evaluations.add(&evaluation(0.1, 0.3), Share::ALL).unwrap();
    evaluations.add(&evaluation(0.4, 0.5), Share::ALL).unwrap();
    evaluations.add(&Evaluation { boxes: 0, ..evaluation(0.0, 0.0) }, Share::ALL).unwrap();
    evaluations.add(&Evaluation { images: 0, ..evaluation(0.0, 0.0) }, Share::ALL).unwrap();
    let report = filled(&evaluations);
    assert_eq!(report.evaluators, 2);
    assert_eq!(
        (report.ap50_global, report.ap50_personal, report.ap50_worst),
        (Some(0.25), Some(0.4), Some(0.1))
    );
    assert_eq!(report.ap50_merged, None);
    assert_eq!(filled(&none_yet()).ap50_global, None);
}

#[test]
fn statistics_are_pooled_by_images() {
    let mut evaluations = none_yet();
    for (mean, images) in [(1.0, 30), (-1.0, 10)] {
        let report = Evaluation {
            statistics: statistics(mean, 1.0),
            statistics_images: images,
            ..evaluation(0.5, 0.5)
        };
        evaluations.add(&report, Share::ALL).unwrap();
    }
    let pooled = evaluations.pooled(&published().statistics).unwrap();
    // Mean 0.75 - 0.25, variance 1 within and 0.75 between.
    let expected = [0.5, 0.5, 1.75, 1.75];
    // A step of the mean is 1/64 of a standard deviation, a step of the variance 2^(1/32).
    assert!(
        pooled.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.02),
        "{pooled:?}"
    );
    let layout = StatisticsLayout::new(&layout().of_scope(Scope::Statistic)).unwrap();
    assert_eq!(pooled, codes::rounded(&layout, &pooled));
    assert!(filled(&evaluations).evaluation_bytes > 0);
    assert_eq!(none_yet().pooled(&published().statistics), None);
}

#[test]
fn frozen_statistics_are_not_pooled() {
    let config = RunConfig::new(settings(|settings| settings.train.norm = Norm::Frozen)).unwrap();
    let mut evaluations = Evaluations::new(&config, &published(), 2);
    let report =
        Evaluation { statistics: statistics(1.0, 1.0), statistics_images: 5, ..evaluation(0.5, 0.5) };
    evaluations.add(&report, Share::ALL).unwrap();
    assert_eq!(evaluations.pooled(&published().statistics), None);
}

/// A device with this many objects of the first class, of which the detector finds so many and nothing else.
fn found(objects: usize, found: usize) -> Evaluation {
    let bbox = |index: usize| BBox::from_xywh([20.0 * index as f32, 0.0, 10.0, 10.0]);
    let detections: Vec<_> =
        (0..found).map(|index| Detection { bbox: bbox(index), class: 0, score: 0.5 }).collect();
    let truth = |index| GroundTruth { bbox: bbox(index), class: 0, area: None, role: Role::Object };
    let truths: Vec<_> = (0..objects).map(truth).collect();
    let mut evaluator = Evaluator::new(&["cat".into(), "dog".into()]);
    evaluator.add_image(&detections, &truths).unwrap();
    let mut evaluation = evaluation(evaluator.report().ap50, 0.5);
    evaluation.global.histogram =
        ApHistogram::from_evaluator(HistogramConfig::default(), &evaluator).unwrap().encode();
    evaluation
}

#[test]
fn histograms_of_all_clients_merge() {
    let mut evaluations = none_yet();
    evaluations.add(&found(2, 1), Share::ALL).unwrap();
    evaluations.add(&found(6, 6), Share::ALL).unwrap();
    let report = filled(&evaluations);
    // Devices count alike in the mean, objects in what is merged: 7 of 8 found is right up to recall 0.875.
    let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
    assert!(close(report.ap50_global, (51.0 / 101.0 + 1.0) / 2.0), "{:?}", report.ap50_global);
    assert!(close(report.ap50_merged, 88.0 / 101.0), "{:?}", report.ap50_merged);
}

#[test]
fn an_evaluation_that_cannot_be_right_is_left_out_whole() {
    let of_three_classes = ApHistogram::empty(HistogramConfig::default(), 3).unwrap().encode();
    let with = |change: &dyn Fn(&mut Evaluation)| {
        let mut bad =
            Evaluation { statistics: statistics(1.0, 1.0), statistics_images: 5, ..evaluation(0.5, 0.5) };
        change(&mut bad);
        bad
    };
    for (bad, expected) in [
        (with(&|bad| bad.global.ap50 = f64::NAN), "ap50 of the global model is NaN"),
        (with(&|bad| bad.personal.ap = 1.1), "ap of the personal model is 1.1"),
        (with(&|bad| bad.statistics[1] ^= 1), "statistics: byte"),
        (with(&|bad| bad.global.histogram = vec![1, 2, 3]), "histogram"),
        (with(&|bad| bad.global.histogram = of_three_classes.clone()), "number of classes is 3, expected 2"),
        (with(&|bad| bad.personal.histogram = vec![0; EVALUATION_BYTES_MAX]), "bytes, more than"),
    ] {
        let mut evaluations = none_yet();
        let found = evaluations.add(&bad, Share::ALL).unwrap_err();
        assert!(found.contains(expected), "found {found}, expected {expected}");
        assert_eq!(evaluations.pooled(&published().statistics), None);
        assert_eq!(filled(&evaluations), filled(&none_yet()));
    }
}

#[test]
fn statistics_of_channels_nobody_asked_for_are_refused() {
    let mut evaluations = none_yet();
    let report =
        Evaluation { statistics: statistics(1.0, 1.0), statistics_images: 10, ..evaluation(0.5, 0.5) };
    let refused = evaluations.add(&report, Share::new(1, 2)).unwrap_err();
    assert_eq!(refused, "statistics of share (0, 1), asked for (1, 2)");
    assert_eq!(evaluations.pooled(&published().statistics), None);
}
