//! A device that can make the start of a run itself.

use params::Canonical;
use protocol::message::ToClient;
use protocol::plan::RoundPlan;
use protocol::time::Timestamp;
use protocol::train::{Prepared, StartValues};

use super::support::{RUN, config, layout, plan, prepared, shared_layout, welcome};
use crate::Client;
use crate::effect::Effect;
use crate::event::Event;
use crate::state::Stored;

/// Weights as they come out of a random generator: on no grid.
const SHARED: [f32; 5] = [0.1, -0.7, 0.3, 1.9, 0.001];

fn own_start() -> Prepared {
    let start = StartValues { shared: SHARED.to_vec(), statistics: vec![0.0, 1.0] };
    Prepared { start: Some(start), ..prepared() }
}

/// What a device does when it is told to train from this version.
fn told(prepared: Prepared, plan: RoundPlan) -> Vec<Effect> {
    let (mut out, now) = (Vec::new(), Timestamp::START);
    let mut client = Client::new(config(), Stored::new(), &mut out);
    for event in [Event::Connected, welcome(RUN, true), Event::Prepared(Ok(prepared))] {
        client.handle(now, event, &mut out);
    }
    out.clear();
    client.handle(now, Event::Instruction(ToClient::Train(plan)), &mut out);
    out
}

#[test]
fn version_0_that_a_device_makes_itself_is_not_fetched() {
    let ours = Canonical::start(shared_layout().into(), &SHARED).unwrap();
    let of_start = RoundPlan { model_digest: ours.digest(), ..plan(1, 0) };
    let effects = told(own_start(), of_start.clone());
    let Some(Effect::Train(job)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((&job.model.shared, &job.model.statistics), (&ours.values(), &vec![0.0, 1.0]));
    // A device that cannot has to ask.
    let effects = told(prepared(), of_start);
    assert!(matches!(&effects[..], [Effect::Fetch { held: None, .. }]), "{effects:?}");
}

#[test]
fn other_versions_and_other_starts_are_fetched_and_the_own_start_is_named() {
    let ours = Canonical::start(shared_layout().into(), &SHARED).unwrap();
    for asked in [plan(1, 0), RoundPlan { model_digest: ours.digest(), ..plan(3, 2) }] {
        let effects = told(own_start(), asked);
        let [Effect::Fetch { held: Some(held), .. }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(held.model.digest(), ours.digest());
    }
}

#[test]
fn a_start_that_does_not_fit_the_model_is_left_aside() {
    let start = |shared: &[f32], statistics: &[f32]| {
        Some(StartValues { shared: shared.to_vec(), statistics: statistics.to_vec() })
    };
    for start in
        [start(&SHARED[..4], &[0.0, 1.0]), start(&SHARED, &[0.0]), start(&[f32::NAN; 5], &[0.0, 1.0])]
    {
        let effects = told(Prepared { layout: layout(), start }, plan(1, 0));
        assert!(matches!(&effects[..], [Effect::Fetch { held: None, .. }]), "{effects:?}");
    }
}
