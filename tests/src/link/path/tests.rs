//! The model does what its description says.

use rand::SeedableRng as _;

use super::*;

const CALM: Conditions =
    Conditions { bytes_per_second: 32_000.0, delay: Duration::from_millis(150), loss: 0.0, cut: None };

fn path(conditions: Conditions, seed: u64) -> Path {
    Path::new(conditions, ChaCha8Rng::seed_from_u64(seed))
}

/// Seconds until the last of so many bytes has arrived.
fn seconds(conditions: Conditions, bytes: usize, seed: u64) -> f64 {
    conditions.transfer(bytes, seed).as_secs_f64()
}

#[test]
fn bytes_come_out_as_they_went_in_whatever_is_lost() {
    for seed in 0..20 {
        let mut path = path(Conditions { loss: 0.3, ..CALM }, seed);
        let bytes: Vec<u8> = (0..30_000_u32).map(|index| (index % 251) as u8).collect();
        let (mut now, mut arrived) = (Duration::ZERO, Vec::new());
        path.offer(&bytes);
        path.advance(now, &mut arrived);
        while let Some(next) = path.next() {
            assert!(next >= now);
            now = next;
            path.advance(now, &mut arrived);
        }
        assert!(arrived == bytes, "seed {seed}");
        assert!(path.crossed() > 30_000 + 21 * HEADER_BYTES as u64, "lost ones have used the link too");
        assert_eq!(path.room(), SENDER_BYTES);
    }
}

#[test]
fn a_calm_link_carries_its_rate_after_its_delay() {
    // One packet: its time on the link, and the delay.
    assert!((seconds(CALM, 1448, 0) - (1500.0 / 32_000.0 + 0.15)).abs() < 1e-6);
    // Many: the rate less the headers, once slow start is over.
    let rate = 3_000_000.0 / seconds(CALM, 3_000_000, 0);
    assert!((0.97 * 32_000.0 * 1448.0 / 1500.0..32_000.0 * 1448.0 / 1500.0).contains(&rate), "{rate}");
}

/// 5 % loss: within a third of the formula of Mathis et al., whose losses come one at a time.
#[test]
fn losses_slow_a_transfer_down_as_they_do_tcp() {
    let rates = (0..20).map(|seed| 600_000.0 / seconds(Conditions::BAD, 600_000, seed));
    let rate = rates.sum::<f64>() / 20.0;
    let formula = 1448.0 / 0.3 * 1.5_f64.sqrt() / 0.05_f64.sqrt();
    assert!((0.66 * formula..1.33 * formula).contains(&rate), "{rate} beside {formula}");
}

#[test]
fn a_lost_last_segment_costs_a_timeout_another_one_a_round_trip() {
    let lost_once = |segments: usize, which: usize| {
        // The seed whose dice say so.
        let seed = (0..10_000).find(|seed| {
            let mut dice = ChaCha8Rng::seed_from_u64(*seed);
            let lost: Vec<_> = (0..segments + 1).map(|_| dice.random::<f64>() < 0.2).collect();
            (0..segments + 1).all(|place| lost[place] == (place == which))
        });
        let lossy = Conditions { loss: 0.2, ..CALM };
        let bytes = segments * 1448;
        seconds(lossy, bytes, seed.unwrap()) - seconds(CALM, bytes, 0)
    };
    // Nothing is known of the round trip yet.
    assert!((lost_once(1, 0) - 1.0).abs() < 1e-6, "{}", lost_once(1, 0));
    // The fourth is confirmed 300 ms after the first would have been; the repetition then arrives last.
    let late = lost_once(8, 0);
    assert!((0.1..0.4).contains(&late), "{late}");
    let late = lost_once(8, 7);
    assert!((0.5..2.0).contains(&late), "{late}");
}

#[test]
fn no_more_is_taken_than_a_socket_holds() {
    let mut path = path(CALM, 0);
    path.offer(&vec![0; path.room()]);
    path.advance(Duration::ZERO, &mut Vec::new());
    assert!(path.room() < SEGMENT_BYTES);
    path.advance(Duration::from_secs(1), &mut Vec::new());
    assert!(path.room() > 10 * SEGMENT_BYTES);
}
