use codec::snapshot::decode_snapshot;
use codec::statistics::codes;
use params::Canonical;
use proptest::prelude::*;

use super::*;
use crate::broadcast::Sent;
use crate::published::tests::version;

/// A publication: whether it is a new version, and what changes.
type Change = (bool, Vec<i32>, Vec<i32>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let weights = prop::collection::vec(prop_oneof![Just(0), -4_i32..4], 6);
    let statistics = prop::collection::vec(prop_oneof![Just(0), -9_i32..9], 4);
    prop::collection::vec((any::<bool>(), weights, statistics), 1..24)
}

fn layout() -> StatisticsLayout {
    statistics_of(&version()).unwrap()
}

/// The versions that these changes make, one after the other.
fn versions(changes: &[Change]) -> Vec<Arc<Published>> {
    let layout = layout();
    let mut last = version();
    last.statistics = codes::rounded(&layout, &last.statistics);
    let mut all = vec![Arc::new(last.clone())];
    for (new, weights, statistics) in changes {
        if *new {
            last.version = Version(last.version.0 + 1);
            last.model.advance(weights);
            last.digest = last.model.digest();
        }
        let moved: Vec<i32> = codes::codes(&layout, &last.statistics)
            .iter()
            .zip(statistics)
            .map(|(code, change)| code + change)
            .collect();
        last.statistics = codes::values(&layout, &moved);
        all.push(Arc::new(last.clone()));
    }
    all
}

/// What a device has that held `from` and took what is offered.
fn taken(offer: &Offer, from: &Published, layout: &StatisticsLayout) -> (Canonical, Vec<f32>) {
    let (mut model, mut statistics) = (from.model.clone(), from.statistics.clone());
    for (part, piece) in offer.parts.iter().zip(&offer.pieces) {
        assert_eq!(part.length, piece.len() as u64);
        match part.kind {
            PartKind::Snapshot => {
                (model, statistics) = decode_snapshot(from.model.layout(), layout, piece).unwrap()
            }
            PartKind::Delta => {
                let (heading, delta) = Delta::decode(&model, layout.len(), piece).unwrap();
                assert_eq!(heading.base, codec::delta::content(&model.digest(), &statistics));
                delta.apply(layout, &mut model, &mut statistics);
                assert_eq!(heading.result, codec::delta::content(&model.digest(), &statistics));
            }
        }
    }
    (model, statistics)
}

proptest! {
    #[test]
    fn whatever_a_device_holds_it_gets_the_version_and_a_restart_changes_nothing(changes in changes(), restart in any::<prop::sample::Index>()) {
        let all = versions(&changes);
        let restart = restart.index(all.len());
        let (mut downlink, mut told) = (Downlink::default(), Downlink::default());
        let mut journal = Vec::new();
        for (number, published) in all.iter().enumerate() {
            let piece = downlink.publish(published, None);
            // The same when it is told what has moved, as when it can compare.
            let before = &all[number.saturating_sub(1)];
            let pairs = before.model.ticks().iter().zip(published.model.ticks());
            let sent = Sent::All(pairs.map(|(before, after)| after - before).collect());
            let moves = Moves { from: before.digest, sent, before: None };
            prop_assert_eq!(&told.publish(published, Some(&moves)), &piece);
            journal.extend(piece);
            if number == restart {
                downlink = Downlink::resume(published, journal.iter().map(|step| step.to_vec()));
                // Said again, as after a crash.
                prop_assert!(downlink.publish(published, None).is_none());
                told = Downlink::resume(published, journal.iter().map(|step| step.to_vec()));
            }
            for held in &all[..=number] {
                let offer = downlink.offer(published.version, Some(held.content())).unwrap();
                let (model, statistics) = taken(&offer, held, &layout());
                prop_assert_eq!(model.digest(), published.digest);
                prop_assert_eq!(&statistics, &published.statistics);
                let whole = downlink.offer(published.version, None).unwrap();
                prop_assert!(offer.bytes() <= whole.bytes());
                prop_assert_eq!(taken(&whole, held, &layout()), (model, statistics));
            }
            // The version before, for those who still evaluate it, as it was published last.
            let before = all[..=number].iter().rfind(|before| before.version < published.version);
            if let Some(before) = before {
                match downlink.offer(before.version, None) {
                    Some(whole) => {
                        let (model, statistics) = taken(&whole, published, &layout());
                        prop_assert_eq!((model.digest(), &statistics), (before.digest, &before.statistics));
                    }
                    // After a restart there is no version but the last.
                    None => prop_assert!(restart <= number),
                }
            }
        }
    }
}

/// A model large enough for deltas to be worth it.
fn large(number: u32, ticks: Vec<i32>) -> Arc<Published> {
    let spec = params::TensorSpec { name: "t".into(), shape: vec![ticks.len()], scope: Scope::Shared };
    let layout = Arc::new(params::Layout::new(vec![spec]).unwrap());
    let grid = params::Grid::from_exponents(&layout, vec![-20]).unwrap();
    let model = Canonical::from_ticks(layout.clone(), grid, ticks).unwrap();
    let (optimiser, residual, statistics) = Default::default();
    let digest = model.digest();
    Arc::new(Published { version: Version(number), layout, model, statistics, digest, optimiser, residual })
}

#[test]
fn sums_are_sent_where_they_are_shorter_and_old_deltas_go() {
    let mut ticks: Vec<i32> = (0..20_000).map(|index| index * 7919 % 65_536).collect();
    let mut downlink = Downlink::default();
    let (mut first, mut last) = (Vec::new(), large(0, ticks.clone()));
    for number in 0..600 {
        // The same hundred values move in every version.
        (0..100).for_each(|index| ticks[index * 200] += 16);
        let published = large(number, ticks.clone());
        downlink.publish(&published, None);
        first.push(published.content());
        last = published;
    }
    assert!(downlink.steps.len() <= STEPS_MAX && downlink.bytes <= kept_bytes_max(&large(0, ticks).model));
    let newest = downlink.newest().unwrap();
    let offer = |behind: usize| downlink.offer(newest, Some(first[599 - behind])).unwrap();
    assert_eq!(offer(0).parts.len(), 0);
    assert_eq!(offer(1).parts.len(), 1);
    // 599 is odd: a few sums, each hardly longer than one step.
    assert!(
        offer(30).parts.len() <= 10 && offer(30).bytes() < 12 * offer(1).bytes(),
        "{:?}",
        offer(30).parts
    );
    assert_eq!(offer(400).parts[0].kind, PartKind::Snapshot);
    assert_eq!(downlink.offer(newest, Some(*b"nonsense")).unwrap().parts[0].kind, PartKind::Snapshot);
    assert!(downlink.offer(Version(597), None).is_none());
    assert!(downlink.offer(Version(598), None).is_some());
    drop(last);
    // Where nobody has a version any more, it cannot be served whole but if it is encoded already.
    assert!(downlink.offer(newest, None).is_some());
    downlink.forget_wholes();
    assert!(downlink.offer(newest, None).is_none() && downlink.serves(newest));
}

#[test]
fn a_version_from_which_everything_moves_can_still_be_had() {
    let mut downlink = Downlink::default();
    let ticks = |factor: i32| (0..20_000).map(|index: i32| index.wrapping_mul(factor)).collect();
    let before = large(1, ticks(1_234_567));
    downlink.publish(&before, None);
    let after = large(2, ticks(-7_654_321));
    let sent = Sent::All(Vec::new());
    let moves = Moves { from: before.digest, sent, before: Some(before.model.clone()) };
    let digest = before.digest;
    drop(before);
    assert!(downlink.publish(&after, Some(&moves)).is_none(), "a delta would be longer");
    drop(moves);
    let offer = downlink.offer(Version(1), None).unwrap();
    assert_eq!(taken(&offer, &after, &statistics_of(&after).unwrap()).0.digest(), digest);
}
