use super::*;

fn spec() -> ModelSpec {
    ModelSpec { preset: "toy".into(), classes: vec!["cat".into(), "Stra\u{df}e".into()] }
}

fn device() -> (Origin, Device) {
    let origin = Origin { run: RunId(3), layout: Digest([7; 32]) };
    (origin, Device { personal: vec![1.5, -0.0], statistics: vec![f32::MIN_POSITIVE] })
}

#[test]
fn states_come_back() {
    let membership = Membership { run: RunId(u64::MAX), seed: u64::MAX, spec: Some(spec()) };
    assert_eq!(Membership::decode(&membership.encode()), Ok(membership));
    let (origin, device) = device();
    assert_eq!(Device::decode(&device.encode(&origin)), Ok((origin, device)));
    let about = About { run: RunId(3), version: Version(9), model_digest: Digest([1; 32]), spec: spec() };
    let model = FinalModel { about, shared: vec![0.25; 9], statistics: Vec::new() };
    assert_eq!(FinalModel::decode(&model.encode()), Ok(model));
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    let (origin, device) = device();
    let bytes = device.encode(&origin);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(
            matches!(Device::decode(&changed), Err(StateError::Checksum { name: DEVICE, .. })),
            "byte {at}"
        );
        assert!(Device::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn contents_are_checked_behind_the_checksum() {
    let error = |result: Result<(Origin, Device), StateError>| result.unwrap_err().to_string();
    let origin = to_json(&device().0);
    let parts = |blocks: &[&[u8]]| seal(DEVICE, blocks);
    assert_eq!(
        error(Device::decode(&parts(&[&origin, &[]]))),
        "stored device cannot be read: it ends too early"
    );
    let four = parts(&[&origin, &[], &[], &[]]);
    assert_eq!(error(Device::decode(&four)), "stored device cannot be read: it has too many parts");
    let odd = parts(&[&origin, &[0; 3], &[]]);
    assert_eq!(error(Device::decode(&odd)), "stored device cannot be read: values are not finite numbers");
    let nan = parts(&[&origin, &f32::NAN.to_le_bytes(), &[]]);
    assert_eq!(error(Device::decode(&nan)), "stored device cannot be read: values are not finite numbers");
    assert!(error(Device::decode(&parts(&[b"{}", &[], &[]]))).contains("missing field"));
    // One state under the name of another.
    assert!(matches!(Membership::decode(&device().1.encode(&device().0)), Err(StateError::Checksum { .. })));
}
