//! Detections against objects, for one class in one image.

use super::{AREA_RANGES, DETECTIONS_MAX, IOU_THRESHOLDS};

const AREAS: usize = AREA_RANGES.len();

/// A detection; `xywh` in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) xywh: [f64; 4],
    pub(crate) score: f64,
}

impl Candidate {
    fn area(&self) -> f64 {
        self.xywh[2] * self.xywh[3]
    }
}

/// An object; `xywh` in pixels, `area` in square pixels as annotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) xywh: [f64; 4],
    pub(crate) area: f64,
    /// Overlap is measured against the detection alone, and any number of detections may match.
    pub(crate) crowd: bool,
    /// Neither to be found nor wrong to find.
    pub(crate) ignore: bool,
    /// Whether a match with it is remembered.
    pub(crate) counts: bool,
}

/// What became of one detection: per area range, one bit per IoU threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) score: f64,
    /// Position among the detections of its image and class, best first.
    pub(crate) rank: u8,
    matched: [u16; AREAS],
    ignored: [u16; AREAS],
}

impl Outcome {
    /// Right, wrong, or (`None`) neither.
    pub(crate) fn verdict(&self, area: usize, threshold: usize) -> Option<bool> {
        let bit = 1 << threshold;
        (self.ignored[area] & bit == 0).then_some(self.matched[area] & bit != 0)
    }
}

/// The result for one class in one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageOutcome {
    /// At most [`DETECTIONS_MAX`], best first.
    pub(crate) detections: Vec<Outcome>,
    /// Objects to be found, per area range.
    pub(crate) objects: [u64; AREAS],
}

/// IoU in double precision, in the order of operations of pycocotools.
fn iou(detection: &Candidate, truth: &Truth) -> f64 {
    let (d, g) = (detection.xywh, truth.xywh);
    let width = (d[2] + d[0]).min(g[2] + g[0]) - d[0].max(g[0]);
    let height = (d[3] + d[1]).min(g[3] + g[1]) - d[1].max(g[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let common = width * height;
    let area = detection.area();
    common / if truth.crowd { area } else { area + g[2] * g[3] - common }
}

/// Matches the detections of one class in one image, given in the order of the file.
pub(crate) fn match_image(detections: &[Candidate], truths: &[Truth]) -> ImageOutcome {
    let mut order: Vec<&Candidate> = detections.iter().collect();
    order.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal));
    order.truncate(DETECTIONS_MAX);
    let outcome = |(rank, d): (usize, &&Candidate)| Outcome {
        score: d.score,
        rank: rank as u8,
        matched: [0; AREAS],
        ignored: [0; AREAS],
    };
    let mut result =
        ImageOutcome { detections: order.iter().enumerate().map(outcome).collect(), objects: [0; AREAS] };
    let overlaps: Vec<f64> = order.iter().flat_map(|d| truths.iter().map(|g| iou(d, g))).collect();
    for (area, &(least, most)) in AREA_RANGES.iter().enumerate() {
        let outside = |size: f64| size < least || size > most;
        let ignored: Vec<bool> = truths.iter().map(|g| g.ignore || outside(g.area)).collect();
        let (later, first): (Vec<usize>, Vec<usize>) = (0..truths.len()).partition(|&g| ignored[g]);
        result.objects[area] = first.len() as u64;
        let sequence: Vec<usize> = first.into_iter().chain(later).collect();
        for (threshold, &least_iou) in IOU_THRESHOLDS.iter().enumerate() {
            let bit = 1 << threshold;
            let mut taken = vec![false; truths.len()];
            for (index, outcome) in result.detections.iter_mut().enumerate() {
                let overlaps = &overlaps[index * truths.len()..(index + 1) * truths.len()];
                let found = best_match(&sequence, &ignored, &taken, truths, overlaps, least_iou);
                let matched = found.is_some_and(|g| truths[g].counts);
                if let Some(g) = found {
                    taken[g] = true;
                }
                if matched {
                    outcome.matched[area] |= bit;
                }
                if found.is_some_and(|g| ignored[g]) || (!matched && outside(order[index].area())) {
                    outcome.ignored[area] |= bit;
                }
            }
        }
    }
    result
}

/// The object a detection matches: the best overlap among free objects, an ignored one only if no other is.
fn best_match(
    sequence: &[usize],
    ignored: &[bool],
    taken: &[bool],
    truths: &[Truth],
    overlaps: &[f64],
    least_iou: f64,
) -> Option<usize> {
    let mut best: Option<usize> = None;
    let mut overlap = least_iou.min(1.0 - 1e-10);
    for &g in sequence {
        if taken[g] && !truths[g].crowd {
            continue;
        }
        if best.is_some_and(|m| !ignored[m]) && ignored[g] {
            break;
        }
        if overlaps[g] >= overlap {
            overlap = overlaps[g];
            best = Some(g);
        }
    }
    best
}
