//! The learning rate over a whole run: linear warm-up, then half a cosine (Loshchilov and Hutter 2017).

use protocol::plan::TrainPlan;

/// Share of the run in its last part, which has no mosaics: no real image looks like one.
const PLAIN_SHARE: f32 = 0.15;

/// Where a step lies on the run's schedule, 0..1: `step` of `steps` in a round that covers part of it.
pub fn progress(plan: &TrainPlan, step: u32, steps: u32) -> f32 {
    let done = step as f32 / steps.max(1) as f32;
    plan.progress_start + (plan.progress_end - plan.progress_start) * done
}

/// The learning rate at a place on the schedule.
pub fn learning_rate(plan: &TrainPlan, progress: f32) -> f32 {
    if progress < plan.warm_up {
        return plan.learning_rate * progress / plan.warm_up;
    }
    let done = ((progress - plan.warm_up) / (1.0 - plan.warm_up).max(f32::EPSILON)).min(1.0);
    let share = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
    plan.learning_rate * (plan.final_rate + (1.0 - plan.final_rate) * share)
}

/// Whether mosaics are still drawn at a place on the schedule.
pub fn mosaic(progress: f32) -> bool {
    progress < 1.0 - PLAIN_SHARE
}

#[cfg(test)]
mod tests;
