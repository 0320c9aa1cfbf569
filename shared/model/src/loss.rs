//! From outputs to gradients: the loss lives in [`detection`], on slices; here its gradients re-enter the graph.

use burn::tensor::{Gradients, Tensor, TensorData};
use detection::class_loss::ClassLossChoice;
use detection::loss::LossError;
use detection::{Batch, LossConfig, LossReport, Phase, class_loss_and_grad, loss_and_grad};
use protocol::plan::ClassLoss;

use crate::architecture::Architecture;
use crate::examples;
use crate::network::Outputs;
use crate::weights::host;

/// The loss of a batch, and the gradients of its *sum* (not yet divided by [`Backward::norm`]).
pub struct Backward {
    /// Loss of the shared part, divided by the norm.
    pub report: LossReport,
    /// What the gradients are still to be divided by, after adding those of other micro-batches and their norms: the sum
    /// of class targets, at least 1.
    pub norm: f32,
    /// Gradients of all trained tensors.
    pub gradients: Gradients,
}

/// The settings of the loss that a plan asks for.
pub fn config(class_loss: ClassLoss) -> LossConfig {
    let name = match class_loss {
        ClassLoss::QualityFocal => "quality_focal",
        ClassLoss::Focal => "focal",
    };
    let class_loss = ClassLossChoice::named(name).expect("the plan's losses are all listed, see the test");
    LossConfig { class_loss, ..LossConfig::default() }
}

/// Computes the loss of `outputs` for `batch` and goes back through the network.
///
/// The gradients by the outputs are constants to the graph: `sum(output * constant)` has exactly them.
///
/// # Errors
/// Labels that do not fit the model.
pub fn backward(
    architecture: &Architecture,
    config: &LossConfig,
    phase: Phase,
    outputs: Outputs,
    batch: &examples::Batch,
) -> Result<Backward, LossError> {
    let (grid, classes) = (architecture.grid(), architecture.classes().len());
    let masks: Vec<&[bool]> = batch.masks.iter().map(Vec::as_slice).collect();
    let logits = host(outputs.class.clone());
    let box_logits = host(outputs.boxes.clone());
    let (mut by_class, mut by_box) = (vec![0.0; logits.len()], vec![0.0; box_logits.len()]);
    let shared = Batch {
        grid,
        classes,
        logits: &logits,
        box_logits: &box_logits,
        targets: &batch.targets,
        class_masks: &masks,
    };
    let gradients = detection::Gradients { logits: &mut by_class, boxes: &mut by_box };
    let (report, assigned) = loss_and_grad(config, phase, &shared, gradients)?;

    let personal = host(outputs.personal.clone());
    let mut by_personal = vec![0.0; personal.len()];
    class_loss_and_grad(config, &assigned, grid, classes, &personal, &masks, &mut by_personal)?;

    let norm = report.target_sum.max(1.0);
    let terms = [(outputs.class, by_class), (outputs.boxes, by_box), (outputs.personal, by_personal)];
    let objective = terms
        .into_iter()
        .filter(|(output, _)| output.is_tracked())
        .map(|(output, mut slopes)| {
            slopes.iter_mut().for_each(|slope| *slope *= norm);
            let slopes = Tensor::from_data(TensorData::new(slopes, output.dims()), &output.device());
            (output * slopes).sum()
        })
        .reduce(|sum, term| sum + term);
    let objective = objective.expect("the personal class layer always trains");
    Ok(Backward { report, norm, gradients: objective.backward() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_loss_of_a_plan_is_listed() {
        for (choice, name) in [(ClassLoss::QualityFocal, "quality_focal"), (ClassLoss::Focal, "focal")] {
            assert_eq!(config(choice).class_loss.entry().name, name);
        }
    }
}
