use super::*;
use crate::testing::plan;

#[test]
fn warm_up_then_cosine_to_the_final_rate() {
    let plan = TrainPlan { learning_rate: 2.0, warm_up: 0.1, final_rate: 0.02, ..plan(8) };
    for (progress, expected) in [(0.0, 0.0), (0.05, 1.0), (0.1, 2.0), (0.55, 1.02), (1.0, 0.04), (1.5, 0.04)]
    {
        let found = learning_rate(&plan, progress);
        assert!((found - expected).abs() < 1e-5, "{progress}: {found} {expected}");
    }
    let plain = TrainPlan { warm_up: 0.0, ..plan };
    assert_eq!(learning_rate(&plain, 0.0), 2.0);
    assert!(learning_rate(&TrainPlan { warm_up: 1.0, ..plain }, 1.0).is_finite());
}

#[test]
fn rounds_divide_the_run() {
    let round = TrainPlan { progress_start: 0.25, progress_end: 0.5, ..plan(8) };
    assert_eq!(progress(&round, 0, 10), 0.25);
    assert_eq!(progress(&round, 5, 10), 0.375);
    assert_eq!(progress(&round, 0, 0), 0.25);
    assert!(mosaic(0.8) && !mosaic(0.9));
}
