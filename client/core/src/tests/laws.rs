use std::collections::BTreeMap;

use params::Share;
use proptest::prelude::*;
use protocol::id::{Round, Version};
use protocol::message::{Receipt, Refusal, ToClient, UpdateHeader};
use protocol::plan::EvaluationPlan;

use super::support::{
    Driver, RUN, digest, evaluated, evaluation, fetched, plan, shared_layout, trained, welcome,
};
use crate::effect::Effect;
use crate::event::Event;
use crate::state::{Outgoing, Stored};
use crate::{Client, personalise};

/// A coordinator and a link of the worst kind, around one client.
struct World {
    driver: Driver,
    /// What was accepted, by round.
    accepted: BTreeMap<Round, UpdateHeader>,
    applied: Vec<f64>,
    learned: Vec<f64>,
    /// A delta that is learned once it is durable.
    at_stake: Option<Vec<f32>>,
    /// Fate of the next uploads, receipts and machines; runs out at the end, and then all is well.
    luck: Vec<u8>,
}

impl World {
    fn draw(&mut self) -> u8 {
        self.luck.pop().unwrap_or(u8::MAX)
    }

    /// Delivers an event and plays the coordinator until the client rests.
    fn deliver(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            // One event in ten kills the machine after some of its effects.
            let dies = self.draw() < 26;
            self.driver.life = dies.then(|| usize::from(self.draw() % 4));
            let mut effects = self.driver.deliver(event);
            if self.driver.life.is_some() {
                effects.extend(self.driver.restart());
                self.settle_stake();
                events.clear();
            }
            self.driver.life = None;
            self.settle_stake();
            for effect in effects {
                events.splice(0..0, self.perform(effect));
            }
        }
    }

    /// A delta counts as learned if it would be found after a restart.
    fn settle_stake(&mut self) {
        let round = match self.driver.outgoing() {
            Some(Outgoing::Unanswered { header, .. }) => header.round,
            Some(Outgoing::Settled(_)) | None => return,
        };
        if round == self.current_round()
            && let Some(delta) = self.at_stake.take()
        {
            self.learned.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += f64::from(delta));
        }
    }

    fn current_round(&self) -> Round {
        Round(self.driver.now.since_start().as_secs() as u32)
    }

    /// What comes back for an effect.
    fn perform(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Connect => vec![welcome(RUN, true), Event::Connected],
            Effect::Prepare { .. } => vec![Event::Prepared(Ok(super::support::prepared()))],
            Effect::Fetch { version, .. } => vec![fetched(version.0)],
            Effect::Upload { header, payload } => vec![Event::Uploaded(self.upload(header, &payload))],
            Effect::Train(_) | Effect::Evaluate(_) | Effect::Send(_) => Vec::new(),
            Effect::Persist { .. } | Effect::Notice(_) | Effect::Halt { .. } => Vec::new(),
        }
    }

    fn upload(&mut self, header: UpdateHeader, payload: &[u8]) -> Result<Receipt, String> {
        let fate = self.draw();
        if fate < 26 {
            return Err("lost on the way".into());
        }
        let round = header.round;
        if let Some(accepted) = self.accepted.get(&round) {
            // Made durable before: the same update gets the same receipt, another one of the round is refused.
            if *accepted != header {
                let (accepted, found) = (accepted.payload_digest, header.payload_digest);
                return Ok(Receipt::Refused(Refusal::Duplicate { accepted, found }));
            }
        } else if fate < 77 {
            return Ok(Receipt::Refused(Refusal::Late { round }));
        } else {
            for (index, value) in codec::decode_update(&shared_layout(), 5, payload).unwrap() {
                self.applied[index as usize] += f64::from(value);
            }
            self.accepted.insert(round, header);
        }
        // One receipt in five is lost.
        if self.draw() < 51 { Err("receipt lost".into()) } else { Ok(Receipt::Accepted { round }) }
    }
}

proptest! {
    /// Lost uploads, lost receipts, refusals and power cuts: what was applied and what is held back is what was learned.
    /// Deltas are whole numbers, so that sums are exact.
    #[test]
    fn no_lesson_is_lost_or_counted_twice(
        deltas in prop::collection::vec(prop::collection::vec(-50_i8..50, 5), 1..12),
        luck in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let (driver, first) = Driver::new();
        let mut world = World {
            driver,
            accepted: BTreeMap::new(),
            applied: vec![0.0; 5],
            learned: vec![0.0; 5],
            at_stake: None,
            luck,
        };
        for effect in first {
            for event in world.perform(effect).into_iter().rev() {
                world.deliver(event);
            }
        }
        for (number, delta) in deltas.iter().enumerate() {
            let round = number as u32 + 1;
            world.driver.now = protocol::time::Timestamp(u64::from(round) * 1_000_000_000);
            let delta: Vec<f32> = delta.iter().map(|&value| f32::from(value)).collect();
            world.deliver(Event::Instruction(ToClient::Train(plan(round, 0))));
            world.at_stake = Some(delta.clone());
            world.deliver(trained(delta, vec![7.0, 7.0]));
            world.at_stake = None;
            // Time passes until what failed is tried again.
            for _ in 0..4 {
                world.deliver(Event::Tick);
            }
        }
        world.luck.clear();
        for minute in 0..4 {
            world.driver.now = protocol::time::Timestamp((1000 + 100 * minute) * 1_000_000_000);
            world.deliver(Event::Tick);
        }
        let residual = match world.driver.outgoing() {
            Some(Outgoing::Settled(residual)) => residual.values().to_vec(),
            Some(Outgoing::Unanswered { header, .. }) => panic!("round {} is still unanswered", header.round),
            None => Vec::new(),
        };
        for (index, &learned) in world.learned.iter().enumerate() {
            let held = residual.get(index).copied().unwrap_or(0.0);
            prop_assert_eq!(world.applied[index] + f64::from(held), learned, "index {}", index);
        }
    }

    /// Events in any order, also such as make no sense: no panic, no wake-up that repeats without progress, and at most one
    /// job at a time.
    #[test]
    fn any_order_of_events_is_survived(events in prop::collection::vec((0_u8..20, 0_u32..4), 0..80)) {
        let (mut driver, _) = Driver::new();
        let mut owed = [0_i32; 5];
        for (second, (kind, number)) in (1_u64..).zip(events) {
            driver.now = protocol::time::Timestamp(second * 1_000_000_000);
            let (version, round) = (Version(number), Round(number));
            let event = match kind {
                0 => Event::Connected,
                1 => Event::Disconnected { reason: "gone".into() },
                2..=4 => welcome(protocol::id::RunId(5 + u64::from(number / 3)), number != 1),
                5 => Event::Instruction(ToClient::Refused { reason: "later".into(), retry: true }),
                6..=8 => Event::Instruction(ToClient::Train(plan(number, number))),
                9 => Event::Instruction(ToClient::Evaluate(EvaluationPlan { share: Share::new(number as u8, 3), ..evaluation(number, number) })),
                10 => Event::Instruction(ToClient::Closed { round }),
                11 if number == 3 => {
                    Event::Instruction(ToClient::Finished { version, model_digest: digest() })
                }
                // Answers come only where one is owed.
                12 if owed[0] > 0 => Event::Prepared(Ok(super::support::prepared())),
                13 if owed[1] > 0 => fetched(number),
                14 if owed[2] > 0 => trained(vec![number as f32; 5], vec![1.0, 2.0]),
                15 if owed[3] > 0 => evaluated(),
                16 if owed[4] > 0 => Event::Uploaded(Ok(Receipt::Accepted { round })),
                17 if owed[4] > 0 => Event::Uploaded(Err("lost".into())),
                18 => {
                    driver.restart();
                    owed = [0; 5];
                    continue;
                }
                _ => Event::Tick,
            };
            match &event {
                Event::Prepared(_) => owed[0] -= 1,
                Event::Fetched { .. } => owed[1] -= 1,
                Event::Trained(_) => owed[2] -= 1,
                Event::Evaluated(_) => owed[3] -= 1,
                Event::Uploaded(_) => owed[4] -= 1,
                _ => {}
            }
            let ticked = matches!(event, Event::Tick);
            for effect in driver.deliver(event) {
                match effect {
                    Effect::Prepare { .. } => owed[0] += 1,
                    Effect::Fetch { .. } => owed[1] += 1,
                    Effect::Train(_) => owed[2] += 1,
                    Effect::Evaluate(_) => owed[3] += 1,
                    Effect::Upload { .. } => owed[4] += 1,
                    _ => {}
                }
            }
            if ticked && let Some((at, why)) = driver.client.deadline() {
                prop_assert!(at > driver.now, "{why} is due and stays due");
            }
        }
    }

    /// Personal values are made recognisable and looked for in everything that is said or uploaded: as bytes in either order,
    /// and as text. Nothing but personal values differs between the two clients, so nothing that is sent may differ either.
    #[test]
    fn personal_values_never_leave(seed in any::<u32>(), rounds in 1_u32..4) {
        for codec in codec::REGISTRY {
            for method in personalise::REGISTRY {
                let sentinels = [0x4b1d_5ec7 ^ (seed & 0xffff), 0x3f5e_c2e7 ^ (seed >> 16)].map(f32::from_bits);
                let told = tell(codec.name, method.name, rounds, &sentinels);
                prop_assert_eq!(&told, &tell(codec.name, method.name, rounds, &[1.0, 2.0]));
                for sentinel in sentinels {
                    let (little, big) = (sentinel.to_le_bytes(), sentinel.to_be_bytes());
                    prop_assert!(told.iter().all(|bytes| bytes.windows(4).all(|four| four != little && four != big)));
                    let texts = [sentinel.to_string(), f64::from(sentinel).to_string()];
                    let said = told.iter().map(|bytes| String::from_utf8_lossy(bytes));
                    prop_assert!(said.into_iter().all(|said| texts.iter().all(|text| !said.contains(text))));
                }
            }
        }
    }
}

/// Everything a client says and uploads when training gives these personal values.
fn tell(codec: &str, method: &str, rounds: u32, personal: &[f32; 2]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut client = Client::new(super::support::config(), Stored::new(), &mut out);
    let mut events =
        vec![Event::Connected, welcome(RUN, true), Event::Prepared(Ok(super::support::prepared()))];
    for round in 1..=rounds {
        let mut plan = plan(round, 0);
        plan.uplink.codec = codec.into();
        plan.personalise = method.into();
        let shared = (1..=5).map(|value| 0.37 * (value * round) as f32).collect();
        events.extend([
            Event::Instruction(ToClient::Train(plan)),
            fetched(0),
            trained(shared, personal.to_vec()),
            Event::Uploaded(Ok(Receipt::Accepted { round: Round(round) })),
            Event::Instruction(ToClient::Evaluate(EvaluationPlan {
                personalise: method.into(),
                ..evaluation(round, 0)
            })),
            evaluated(),
        ]);
    }
    for event in events {
        client.handle(protocol::time::Timestamp::START, event, &mut out);
    }
    let told: Vec<Vec<u8>> = out.iter().filter_map(told).flatten().collect();
    assert_eq!(told.len(), 1 + 3 * rounds as usize);
    told
}

/// The bytes of what leaves the device.
fn told(effect: &Effect) -> Option<Vec<Vec<u8>>> {
    match effect {
        Effect::Send(message) => Some(vec![serde_json::to_vec(message).unwrap()]),
        Effect::Upload { header, payload } => {
            Some(vec![serde_json::to_vec(header).unwrap(), payload.clone()])
        }
        Effect::Fetch { .. } => None,
        // These stay on the device.
        Effect::Connect | Effect::Prepare { .. } | Effect::Train(_) | Effect::Evaluate(_) => None,
        Effect::Persist { .. } | Effect::Notice(_) | Effect::Halt { .. } => None,
    }
}
