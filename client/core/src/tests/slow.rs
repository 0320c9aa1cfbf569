//! A device whose link cannot carry what the plan asks for in the time the plan gives.

use std::time::Duration;

use params::{Canonical, Layout, Scope, TensorSpec};
use protocol::id::Version;
use protocol::message::{Receipt, Refusal, ToClient};
use protocol::plan::RoundPlan;
use protocol::time::Timestamp;
use protocol::train::{DeviceModel, Prepared, TrainOutcome};

use super::support::{RUN, config, plan, welcome};
use crate::Client;
use crate::effect::Effect;
use crate::event::{Event, FetchedModel};
use crate::state::Stored;

const LEN: usize = 4000;

/// A client with a model of some size, whose link carries so many bytes a second.
struct Slow {
    client: Client,
    now: f64,
    bytes_per_second: f64,
    codec: &'static str,
}

impl Slow {
    fn new(bytes_per_second: f64, codec: &'static str) -> Self {
        let mut client = Client::new(config(), Stored::new(), &mut Vec::new());
        let tensor = TensorSpec { name: "all".into(), shape: vec![LEN], scope: Scope::Shared };
        let layout = Layout::new(vec![tensor]).unwrap().into();
        for event in
            [Event::Connected, welcome(RUN, true), Event::Prepared(Ok(Prepared { layout, start: None }))]
        {
            client.handle(Timestamp::START, event, &mut Vec::new());
        }
        Self { client, now: 0.0, bytes_per_second, codec }
    }

    fn deliver(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.client.handle(Timestamp::START + Duration::from_secs_f64(self.now), event, &mut effects);
        effects
    }

    /// A round of `limit` seconds in which training takes 2: how long the update was, and whether it arrived in time.
    fn round(&mut self, number: u32, limit: f64) -> (usize, bool) {
        let mut plan = RoundPlan { time_limit: Duration::from_secs_f64(limit), ..plan(number, 0) };
        (plan.uplink.codec, plan.uplink.density) = (self.codec.into(), 0.2);
        let due = self.now + limit;
        let effects = self.deliver(Event::Instruction(ToClient::Train(plan)));
        if let Some(Effect::Fetch { .. }) = effects.last() {
            let shared =
                Layout::new(vec![TensorSpec { name: "all".into(), shape: vec![LEN], scope: Scope::Shared }]);
            let model = Canonical::from_values(shared.unwrap().into(), &[0.0; LEN]).unwrap();
            let model = Ok(FetchedModel { model, statistics: Vec::new() });
            self.deliver(Event::Fetched { version: Version(0), model });
        }
        self.now += 2.0;
        let shared = (0..LEN).map(|index| ((index * index + number as usize) as f32).sin()).collect();
        let model = DeviceModel { shared, statistics: Vec::new(), personal: Vec::new() };
        let effects =
            self.deliver(Event::Trained(Ok(TrainOutcome { model, examples: 1, steps: 1, loss: 1.0 })));
        let Some(Effect::Upload { header, payload }) = effects.last() else { panic!("{effects:?}") };
        let (round, length) = (header.round, payload.len());
        let shortened = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Notice(text) if text.contains("instead of")));
        self.now += length as f64 / self.bytes_per_second;
        let in_time = self.now <= due;
        let receipt =
            if in_time { Receipt::Accepted { round } } else { Receipt::Refused(Refusal::Late { round }) };
        self.deliver(Event::Uploaded(Ok(receipt)));
        assert_eq!(shortened, length < self.planned(), "the owner is told");
        (length, in_time)
    }

    /// Least bytes of an update as planned, of 800 values.
    fn planned(&self) -> usize {
        match self.codec {
            "dense" => 4 * LEN,
            "public" => 300,
            _ => 500,
        }
    }
}

#[test]
fn an_update_is_made_as_long_as_arrives_in_half_of_the_time_left() {
    let mut slow = Slow::new(20.0, "sparse");
    let (planned, in_time) = slow.round(1, 100.0);
    assert!(planned > slow.planned() && in_time);
    // 20 bytes a second for half of 18 seconds.
    let (length, in_time) = slow.round(2, 20.0);
    assert!((150..=180).contains(&length) && in_time, "{length} bytes");
    // Enough time: as planned again.
    let (length, in_time) = slow.round(3, 1000.0);
    assert!(length > slow.planned() && in_time, "{length} bytes");
}

#[test]
fn what_comes_late_tells_of_the_link_as_well() {
    let mut slow = Slow::new(20.0, "sparse");
    let (length, in_time) = slow.round(1, 20.0);
    assert!(length > slow.planned() && !in_time);
    for number in 2..5 {
        let (length, in_time) = slow.round(number, 20.0);
        assert!((150..=180).contains(&length) && in_time, "{length} bytes");
    }
}

/// A codec that cannot leave out values, and one whose values are those of all devices of the round, send what they are asked for.
#[test]
fn other_codecs_send_what_is_planned() {
    // As many values take a few bytes more or less where they are written in their entropy.
    for (codec, slack) in [("dense", 0), ("public", 8)] {
        let mut slow = Slow::new(20.0, codec);
        let (planned, _) = slow.round(1, 2000.0);
        let (length, in_time) = slow.round(2, 10.0);
        assert!(length.abs_diff(planned) <= slack && !in_time, "{codec}: {length} beside {planned} bytes");
    }
}
