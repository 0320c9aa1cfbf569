use proptest::prelude::*;

use super::*;

fn asked(images: &[u32]) -> Vec<Asked> {
    let one = |(number, &images): (usize, &u32)| Asked {
        client: ClientId::new(format!("client-{number:03}")).unwrap(),
        present: true,
        images,
    };
    images.iter().enumerate().map(one).collect()
}

/// How many shares there are, and the part of each client in order of name.
fn divided(images: &[u32], version: u32) -> (u8, Vec<u8>) {
    let shares = divide(asked(images), Version(version), false);
    let of = shares.values().next().map_or(1, |share| share.of());
    assert!(shares.values().all(|share| share.of() == of));
    (of, shares.values().map(|share| share.part()).collect())
}

#[test]
fn small_clients_do_not_speak_alone() {
    for (images, version, expected) in [
        (&[][..], 0, (1, vec![])),
        (&[10], 5, (1, vec![0])),
        (&[10, 10], 0, (2, vec![0, 1])),
        (&[10, 10], 1, (2, vec![1, 0])),
        (&[50, 50, 50, 50], 0, (4, vec![0, 1, 2, 3])),
        (&[44, 44, 23, 3, 3], 0, (3, vec![0, 1, 2, 2, 2])),
        (&[199, 72, 7, 14], 0, (2, vec![0, 1, 1, 1])),
        (&[1000, 3], 0, (1, vec![0, 0])),
    ] {
        assert_eq!(divided(images, version), expected, "{images:?}");
    }
}

#[test]
fn everybody_reports_everything_of_the_last_version() {
    let shares = divide(asked(&[50, 50, 50, 50]), Version(7), true);
    assert!(shares.len() == 4 && shares.values().all(|&share| share == Share::ALL));
}

#[test]
fn no_channel_depends_on_somebody_absent() {
    let mut clients = asked(&[500, 40, 40]);
    clients[0].present = false;
    let shares: Vec<Share> = divide(clients, Version(0), false).into_values().collect();
    assert_eq!(shares[1..], [Share::new(0, 2), Share::new(1, 2)]);
}

proptest! {
    #[test]
    fn every_channel_has_its_share_of_the_images(images in prop::collection::vec(0_u32..400, 1..80), version: u32) {
        let (of, parts) = divided(&images, version);
        prop_assert!((1..=Share::OF_MAX).contains(&of));
        let enough = |images: u32| u64::from(images.min(IMAGES_ENOUGH));
        let total: u64 = images.iter().copied().map(enough).sum();
        for part in 0..of {
            let those = images.iter().zip(&parts).filter(|(_, its)| **its == part);
            let (count, load) = those.fold((0, 0), |(count, load), (&images, _)| (count + 1, load + enough(images)));
            prop_assert!(count >= 1);
            prop_assert!(2 * load * u64::from(of) >= total);
        }
        // Who reports what depends on the clients, not on their order.
        let mut backwards = asked(&images);
        backwards.reverse();
        prop_assert_eq!(divide(backwards, Version(version), false), divide(asked(&images), Version(version), false));
    }
}
