use super::*;

/// Four devices whose uplinks carry 100 bytes a second, in rounds of 9 seconds; an update as planned has 700 bytes. How fast the link is
/// shows with the first update, which comes too late; from then on devices send what arrives in time.
#[test]
fn devices_on_slow_links_send_what_arrives_in_time() {
    let scenario = "
        [run]
        seed = 1
        rounds = 5
        preset = 'toy'
        min_clients = 4
        round_time_limit_s = 9.0
        [run.train]
        local_epochs = 1
        [run.uplink]
        density = 0.7
        value_bits = 6
        [devices]
        count = 4
        images_per_second = [100.0, 100.0]
        uplink_bytes_per_second = [100.0, 100.0]
        delay_ms = [5.0, 50.0]
        [data]
        source = 'toy'
        images = 200
        classes = 250
        partition = { scheme = 'iid' }";
    let scenario = Scenario::parse(scenario, None).unwrap();
    let report = simulate(&scenario, 1, Box::new(|_| ())).unwrap();
    assert!(report.complete, "{}", report.reason);
    let met: Vec<_> = report.rounds.iter().map(|round| (round.abandoned, round.contributors)).collect();
    assert_eq!(met[0], (true, 0), "nothing is known of the links: {met:?}");
    assert!(met[1..].iter().all(|met| *met == (false, 4)), "{met:?}");
    let sizes: Vec<_> = report.rounds.iter().map(|round| round.uplink_bytes / 4).collect();
    assert!(sizes[1..].iter().all(|size| (64..500).contains(size)), "{sizes:?}");
}
