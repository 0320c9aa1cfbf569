use proptest::prelude::*;

use super::*;
use crate::boxes::BBox;
use crate::coco::{GroundTruth, Role};
use crate::decode::Detection;

const CLASSES: usize = 3;
const ALL: HistogramConfig = HistogramConfig { bins: 512, thresholds: ThresholdSet::AP };

type Image = (Vec<Detection>, Vec<GroundTruth>);

fn evaluate(images: &[Image]) -> Evaluator {
    let mut evaluator = Evaluator::new(&["a", "b", "c"].map(str::to_owned));
    for (detections, truths) in images {
        evaluator.add_image(detections, truths).unwrap();
    }
    evaluator
}

fn histogram(config: HistogramConfig, images: &[Image]) -> ApHistogram {
    ApHistogram::from_evaluator(config, &evaluate(images)).unwrap()
}

/// A generator of small whole numbers, so that fixtures need no crate and never change.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn unit(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 24) as f32
    }
}

/// Street-like images: 13 objects each, found with varying care and confidence, and false alarms with low scores.
fn fleet(seed: u64, images: usize) -> Vec<Image> {
    let mut random = Lcg(seed);
    let image = |_| {
        let (mut detections, mut truths) = (Vec::new(), Vec::new());
        for _ in 0..13 {
            let class = random.below(CLASSES as u64) as u32;
            let [x, y, w, h] = [300.0, 300.0, 60.0, 60.0].map(|most| random.unit() * most);
            let bbox = BBox::from_xywh([x, y, w + 8.0, h + 8.0]);
            let role = if random.below(20) == 0 { Role::Crowd } else { Role::Object };
            truths.push(GroundTruth { bbox, class, area: None, role });
            if random.below(5) > 0 {
                let care = random.unit() * 0.2;
                let moved =
                    bbox.translate(care * bbox.width() * random.unit(), care * bbox.height() * random.unit());
                let score = (0.95 - 4.0 * care * random.unit()).max(0.03);
                detections.push(Detection { bbox: moved, class, score });
            }
        }
        for _ in 0..10 {
            let [x, y, w, h] = [300.0, 300.0, 60.0, 60.0].map(|most| random.unit() * most);
            let score = 0.02 + 0.7 * random.unit() * random.unit() * random.unit();
            let class = random.below(CLASSES as u64) as u32;
            detections.push(Detection { bbox: BBox::from_xywh([x, y, w + 8.0, h + 8.0]), class, score });
        }
        (detections, truths)
    };
    (0..images).map(image).collect()
}

#[track_caller]
fn check_around(exact: f64, estimate: Estimate, slack: f64) {
    assert!(
        estimate.least <= exact + 1e-12 && exact <= estimate.most + 1e-12,
        "{exact} outside {estimate:?}"
    );
    assert!((estimate.value - exact).abs() <= slack, "{exact}, estimated {estimate:?}");
}

#[test]
fn the_estimate_is_within_a_hundredth_of_exact() {
    for seed in 0..8 {
        let images = fleet(seed, 100);
        let evaluator = evaluate(&images);
        let mut scores: Vec<u32> =
            images.iter().flat_map(|(d, _)| d.iter().map(|d| d.score.to_bits())).collect();
        scores.sort_unstable();
        scores.dedup();
        assert!(scores.len() > 512);
        let (exact, binned) = (evaluator.report(), histogram(ALL, &images));
        check_around(exact.ap50, binned.ap50().unwrap(), 0.01);
        check_around(exact.ap75, binned.ap75().unwrap(), 0.01);
        check_around(exact.ap, binned.ap().unwrap(), 0.01);
        for (class, name) in ["a", "b", "c"].iter().enumerate() {
            let of_class = &exact.classes[*name];
            check_around(of_class.ap, binned.class_ap(class, ThresholdSet::AP).unwrap(), 0.01);
            assert_eq!(of_class.objects, binned.objects(class));
        }
    }
}

#[test]
fn a_report_is_small() {
    let images = fleet(1, 100);
    let bytes = |thresholds| histogram(HistogramConfig { bins: 512, thresholds }, &images).encode().len();
    let sizes = [ThresholdSet::AP50, ThresholdSet::AP50_AP75, ThresholdSet::AP].map(bytes);
    for (size, limit) in sizes.into_iter().zip([750, 1_000, 2_900]) {
        assert!(size <= limit, "{sizes:?} bytes, expected at most {limit}");
    }
    let detections: usize = images.iter().map(|(detections, _)| detections.len()).sum();
    assert!((1_900..2_200).contains(&detections), "{detections}");
}

#[test]
fn figures_need_their_thresholds_and_objects() {
    let only_50 = histogram(HistogramConfig::default(), &fleet(2, 5));
    assert!(only_50.ap50().is_some() && only_50.ap75().is_none() && only_50.ap().is_none());
    let empty = ApHistogram::empty(ALL, CLASSES).unwrap();
    assert_eq!(
        (empty.ap(), empty.class_ap(0, ThresholdSet::AP50), empty.class_ap(9, ThresholdSet::AP50)),
        (None, None, None)
    );
}

#[test]
fn bins_rise_with_the_score() {
    let config = HistogramConfig { bins: 100, ..ALL };
    let bins: Vec<u16> = (0..=1000).map(|step| config.bin(f64::from(step) / 1000.0)).collect();
    assert!(bins.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!((bins[0], bins[500], bins[1000]), (0, 50, 99));
}

#[test]
fn other_shapes_are_refused() {
    let mut mine = ApHistogram::empty(ALL, 2).unwrap();
    let refused = |other: Result<ApHistogram, HistogramError>, mine: &mut ApHistogram| {
        mine.merge(&other.unwrap()).unwrap_err().to_string()
    };
    let fewer = HistogramConfig { bins: 100, ..ALL };
    let text = refused(ApHistogram::empty(fewer, 2), &mut mine);
    assert_eq!(text, "histogram number of bins is 100, expected 512");
    let text = refused(ApHistogram::empty(HistogramConfig::default(), 2), &mut mine);
    assert_eq!(text, "histogram threshold set is 1, expected 1023");
    let text = refused(ApHistogram::empty(ALL, 3), &mut mine);
    assert_eq!(text, "histogram number of classes is 3, expected 2");
    for bins in [0, BINS_MAX + 1] {
        let refused = ApHistogram::empty(HistogramConfig { bins, ..ALL }, 2);
        assert_eq!(refused, Err(HistogramError::Bins { found: bins }));
    }
    assert!(serde_json::from_str::<ThresholdSet>("0").is_err());
    assert!(serde_json::from_str::<ThresholdSet>("1024").is_err());
}

#[test]
fn impossible_counts_are_refused() {
    let config = HistogramConfig { bins: 8, thresholds: ThresholdSet::AP50 };
    let check = |objects: u64, detections: &[(u16, u64)], right: &[(u16, u64)], void: &[(u16, u64)]| {
        let bins = |counts: &[(u16, u64)]| counts.iter().copied().collect::<Bins>();
        let mut histogram = ApHistogram::empty(config, 1).unwrap();
        let verdicts = Verdicts { right: bins(right), void: bins(void) };
        histogram.classes[0] =
            ClassCounts { objects, detections: bins(detections), verdicts: vec![verdicts] };
        let read = ApHistogram::decode(&histogram.encode(), config, 1);
        read.map(|read| assert_eq!(read, histogram)).map_err(|error| error.to_string())
    };
    assert_eq!(check(1, &[(2, 5)], &[(2, 1)], &[(2, 4)]), Ok(()));
    let refused = |problem: &str| Err(format!("histogram class 0: {problem}"));
    assert_eq!(check(0, &[(2, 1)], &[(2, 1)], &[]), refused("more right detections than objects"));
    assert_eq!(check(9, &[(2, 1)], &[(2, 2)], &[]), refused("more verdicts than detections in a bin"));
    assert_eq!(check(9, &[(2, 1)], &[(2, 1)], &[(2, 1)]), refused("more verdicts than detections in a bin"));
}

#[test]
fn damaged_bytes_are_refused() {
    let config = HistogramConfig { bins: 8, thresholds: ThresholdSet::AP50 };
    let whole = ApHistogram::empty(config, 1).unwrap().encode();
    let decode = |bytes: &[u8]| ApHistogram::decode(bytes, config, 1).unwrap_err();
    assert_eq!(decode(&whole[..whole.len() - 1]), HistogramError::Malformed { found: whole.len() - 1 });
    assert_eq!(decode(&[&whole[..], &[0]].concat()), HistogramError::Malformed { found: whole.len() + 1 });
    assert_eq!(decode(&[2]), HistogramError::Mismatch { what: "version", expected: 1, found: 2 });
    // Zeros without end are a count beyond any bound.
    assert_eq!(decode(&[&whole[..5], &[0; 40]].concat()), HistogramError::Malformed { found: 45 });
    let mut padded = whole.clone();
    *padded.last_mut().unwrap() |= 0x80;
    assert_eq!(decode(&padded), HistogramError::Malformed { found: whole.len() });
}

fn images() -> impl Strategy<Value = Vec<Image>> {
    (any::<u64>(), 0_usize..4).prop_map(|(seed, count)| fleet(seed, count))
}

fn configs() -> impl Strategy<Value = HistogramConfig> {
    (1_u16..600, 1_u16..1024)
        .prop_map(|(bins, thresholds)| HistogramConfig { bins, thresholds: ThresholdSet(thresholds) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_is_a_sum_in_any_order(config in configs(), a in images(), b in images(), c in images()) {
        let merge = |x: &ApHistogram, y: &ApHistogram| {
            let mut sum = x.clone();
            sum.merge(y).unwrap();
            sum
        };
        let [ha, hb, hc] = [&a, &b, &c].map(|images| histogram(config, images));
        prop_assert_eq!(merge(&ha, &hb), merge(&hb, &ha));
        prop_assert_eq!(merge(&merge(&ha, &hb), &hc), merge(&ha, &merge(&hb, &hc)));
        prop_assert_eq!(&merge(&ha, &ApHistogram::empty(config, CLASSES).unwrap()), &ha);
        let together = histogram(config, &[a, b, c].concat());
        prop_assert_eq!(merge(&merge(&ha, &hb), &hc), together, "not that of all images in one evaluation");
    }

    #[test]
    fn the_exact_figure_lies_between_the_bounds(bins in 1_u16..600, images in images()) {
        let (exact, binned) = (evaluate(&images).report(), histogram(HistogramConfig { bins, ..ALL }, &images));
        for (exact, estimate) in [(exact.ap, binned.ap()), (exact.ap50, binned.ap50()), (exact.ap75, binned.ap75())] {
            match estimate {
                None => prop_assert_eq!(exact, -1.0),
                Some(estimate) => {
                    prop_assert!(estimate.least <= exact + 1e-12 && exact <= estimate.most + 1e-12, "{exact} {estimate:?}");
                    prop_assert!(estimate.least <= estimate.value && estimate.value <= estimate.most);
                }
            }
        }
    }

    #[test]
    fn bytes_are_read_back(config in configs(), images in images()) {
        let all = histogram(config, &images);
        let bytes = all.encode();
        prop_assert!(bytes.len() <= encoded_bytes_max(config, CLASSES));
        prop_assert_eq!(ApHistogram::decode(&bytes, config, CLASSES), Ok(all));
        prop_assert!(ApHistogram::decode(&bytes, config, CLASSES + 1).is_err());
        for end in 0..bytes.len().min(50) {
            prop_assert!(ApHistogram::decode(&bytes[..end], config, CLASSES).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..6)) {
        let _ = ApHistogram::decode(&bytes, ALL, CLASSES);
        bytes = histogram(ALL, &fleet(3, 1)).encode();
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(read) = ApHistogram::decode(&bytes, ALL, CLASSES) {
            let ap = read.ap().map_or(0.0, |estimate| estimate.value);
            prop_assert!((0.0..=1.0).contains(&ap));
        }
    }
}
