use proptest::prelude::*;

use super::*;

fn boxes() -> impl Strategy<Value = BBox> {
    (-50.0_f32..150.0, -50.0_f32..150.0, 0.5_f32..120.0, 0.5_f32..120.0)
        .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h]))
}

#[track_caller]
fn check_iou(a: [f32; 4], b: [f32; 4], iou: f32, giou: f32) {
    let (a, b) = (BBox::new(a[0], a[1], a[2], a[3]), BBox::new(b[0], b[1], b[2], b[3]));
    assert!((a.iou(&b) - iou).abs() < 1e-6, "iou {} expected {iou}", a.iou(&b));
    assert!((a.giou(&b) - giou).abs() < 1e-6, "giou {} expected {giou}", a.giou(&b));
}

#[test]
fn overlaps_worked_by_hand() {
    check_iou([0., 0., 10., 10.], [0., 0., 10., 10.], 1.0, 1.0);
    check_iou([0., 0., 10., 10.], [5., 0., 15., 10.], 1.0 / 3.0, 1.0 / 3.0);
    // Disjoint: hull 300, union 200.
    check_iou([0., 0., 10., 10.], [20., 0., 30., 10.], 0.0, -1.0 / 3.0);
    // Corner to corner: hull 400, union 200.
    check_iou([0., 0., 10., 10.], [10., 10., 20., 20.], 0.0, -0.5);
    // One inside the other.
    check_iou([0., 0., 10., 10.], [0., 0., 5., 5.], 0.25, 0.25);
}

#[test]
fn validity() {
    assert!(BBox::new(0.0, 0.0, 1.0, 1.0).is_valid());
    assert!(!BBox::new(0.0, 0.0, 0.0, 1.0).is_valid());
    assert!(!BBox::new(2.0, 0.0, 1.0, 1.0).is_valid());
    assert!(!BBox::new(0.0, f32::NAN, 1.0, 1.0).is_valid());
    assert!(!BBox::new(0.0, 0.0, f32::INFINITY, 1.0).is_valid());
    assert!(!BBox::new(-1e30, -1e30, 1e30, 1e30).is_valid(), "the area overflows");
}

#[test]
fn empty_boxes_have_no_overlap_and_no_gradient() {
    let empty = BBox::new(3.0, 3.0, 3.0, 3.0);
    assert_eq!(empty.iou(&empty), 0.0);
    assert_eq!(giou_loss_grad(&empty, &empty), (1.0, [0.0; 4]));
}

#[test]
fn edges_in_common_share_the_derivative() {
    // Growing a perfect box costs as much as shrinking it, so the chosen subgradient is zero.
    let perfect = BBox::new(10.0, 10.0, 30.0, 20.0);
    let (loss, gradient) = giou_loss_grad(&perfect, &perfect);
    assert!(loss.abs() < 1e-6);
    assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{gradient:?}");
}

/// `1 - GIoU` straight from the paper, in double precision.
fn reference(p: [f64; 4], t: [f64; 4]) -> f64 {
    let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let w = (p[2].min(t[2]) - p[0].max(t[0])).max(0.0);
    let h = (p[3].min(t[3]) - p[1].max(t[1])).max(0.0);
    let union = area(p) + area(t) - w * h;
    let hull = (p[2].max(t[2]) - p[0].min(t[0])) * (p[3].max(t[3]) - p[1].min(t[1]));
    1.0 - (w * h / union - (hull - union) / hull)
}

proptest! {
    #[test]
    fn conversions_are_inverse(b in boxes()) {
        let [x, y, w, h] = b.to_xywh();
        let back = BBox::from_xywh([x, y, w, h]);
        let centred = BBox::from_centre([b.centre().0, b.centre().1, w, h]);
        for other in [back, centred] {
            prop_assert!((b.x1 - other.x1).abs() < 1e-3 && (b.x2 - other.x2).abs() < 1e-3);
            prop_assert!((b.y1 - other.y1).abs() < 1e-3 && (b.y2 - other.y2).abs() < 1e-3);
        }
    }

    #[test]
    fn overlaps_are_symmetric_and_bounded(a in boxes(), b in boxes()) {
        prop_assert_eq!(a.iou(&b), b.iou(&a));
        prop_assert!((0.0..=1.0).contains(&a.iou(&b)));
        prop_assert!(a.giou(&b) <= a.iou(&b) + 1e-6 && a.giou(&b) >= -1.0);
        prop_assert!((a.giou(&b) - b.giou(&a)).abs() < 1e-6);
        prop_assert!((a.iou(&a) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn clipping_never_leaves_the_image_nor_grows(b in boxes()) {
        let clipped = b.clip(64.0, 48.0);
        prop_assert!(clipped.x1 >= 0.0 && clipped.x2 <= 64.0 && clipped.y1 >= 0.0 && clipped.y2 <= 48.0);
        prop_assert!(clipped.area() <= b.area() + 1e-3);
        prop_assert_eq!(clipped.clip(64.0, 48.0), clipped);
    }

    #[test]
    fn giou_gradient_equals_central_differences(p in boxes(), t in boxes()) {
        let (p64, t64) = ([p.x1, p.y1, p.x2, p.y2].map(f64::from), [t.x1, t.y1, t.x2, t.y2].map(f64::from));
        // Skip points where a minimum or maximum changes sides within the step.
        let apart = p64.iter().zip(t64).all(|(a, b)| (a - b).abs() > 1e-3)
            && [(0, 2), (1, 3)].iter().all(|&(lo, hi)| (p64[hi] - t64[lo]).abs() > 1e-3 && (t64[hi] - p64[lo]).abs() > 1e-3);
        prop_assume!(apart);
        let (loss, gradient) = giou_loss_grad(&p, &t);
        prop_assert!((f64::from(loss) - reference(p64, t64)).abs() < 1e-6);
        for edge in 0..4 {
            let step = 1e-5;
            let (mut up, mut down) = (p64, p64);
            up[edge] += step;
            down[edge] -= step;
            let expected = (reference(up, t64) - reference(down, t64)) / (2.0 * step);
            let error = (f64::from(gradient[edge]) - expected).abs();
            prop_assert!(error <= 1e-4 * expected.abs() + 1e-8, "edge {edge}: {} against {expected}", gradient[edge]);
        }
    }
}
