//! One node of the autodiff graph per operation.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

use super::Form;
use super::run::{self, Saved};

pub(super) type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

#[derive(Debug)]
struct Native;

#[derive(Debug)]
struct State {
    form: Form,
    inputs: Vec<FlexTensor>,
    saved: Saved,
}

impl<const N: usize> Backward<Flex, N> for Native {
    type State = Arc<State>;

    fn backward(self, ops: Ops<Arc<State>, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        // A gradient of a mean or a sum arrives expanded.
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let State { form, inputs, saved } = &*ops.state;
        let tracked = ops.parents.each_ref().map(Option::is_some);
        let found = run::backward(form, inputs, saved, &gradient, &tracked);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Runs `form` as one node of the graph, or without one when no input tracks gradients.
pub(super) fn track<C: CheckpointStrategy, const N: usize>(
    form: Form,
    inputs: [Tracked<C>; N],
) -> (Tracked<C>, Vec<Tracked<C>>) {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
    let untracked = |moments: Vec<FlexTensor>| moments.into_iter().map(Tracked::<C>::new).collect();
    match Native.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(preparation) => {
            let run = run::forward(&form, &inputs, true);
            let state = State { form, inputs: inputs.into(), saved: run.saved };
            (preparation.finish(Arc::new(state), run.output), untracked(run.moments))
        }
        OpsKind::UnTracked(preparation) => {
            let (output, moments) = run::plain(&form, inputs);
            (preparation.finish(output), untracked(moments))
        }
    }
}
