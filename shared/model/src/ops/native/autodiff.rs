//! One node of the autodiff graph per operation.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

use super::run::{self, Saved};
use super::{Form, NativeOps};

type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

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

fn track<C: CheckpointStrategy, const N: usize>(
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

impl<C: CheckpointStrategy> NativeOps for Autodiff<Flex, C> {
    fn native_two(a: Tracked<C>, b: Tracked<C>, form: Form) -> (Tracked<C>, Vec<Tracked<C>>) {
        track::<C, 2>(form, [a, b])
    }

    fn native_three(
        x: Tracked<C>,
        weight: Tracked<C>,
        bias: Tracked<C>,
        form: Form,
    ) -> (Tracked<C>, Vec<Tracked<C>>) {
        track::<C, 3>(form, [x, weight, bias])
    }

    fn native_four(
        x: Tracked<C>,
        weight: Tracked<C>,
        gamma: Tracked<C>,
        beta: Tracked<C>,
        form: Form,
    ) -> (Tracked<C>, Vec<Tracked<C>>) {
        track::<C, 4>(form, [x, weight, gamma, beta])
    }

    fn native_seven(
        x: Tracked<C>,
        weight1: Tracked<C>,
        gamma1: Tracked<C>,
        beta1: Tracked<C>,
        weight2: Tracked<C>,
        gamma2: Tracked<C>,
        beta2: Tracked<C>,
        form: Form,
    ) -> (Tracked<C>, Vec<Tracked<C>>) {
        track::<C, 7>(form, [x, weight1, gamma1, beta1, weight2, gamma2, beta2])
    }

    fn native_ten(
        x: Tracked<C>,
        weight1: Tracked<C>,
        gamma1: Tracked<C>,
        beta1: Tracked<C>,
        weight2: Tracked<C>,
        gamma2: Tracked<C>,
        beta2: Tracked<C>,
        weight3: Tracked<C>,
        gamma3: Tracked<C>,
        beta3: Tracked<C>,
        form: Form,
    ) -> (Tracked<C>, Vec<Tracked<C>>) {
        let inputs = [x, weight1, gamma1, beta1, weight2, gamma2, beta2, weight3, gamma3, beta3];
        track::<C, 10>(form, inputs)
    }
}
