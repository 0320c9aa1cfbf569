use std::path::Path;
use std::sync::Arc;

use client_core::state::{About, DEVICE, Device, FinalModel, MODEL, Origin};
use dataset::scenes::{World, scene_dataset};
use model::initial::initial;
use model::trainer::split;
use params::{Digest, Scope};
use protocol::id::{RunId, Version};
use protocol::plan::{ModelSpec, Norm};
use protocol::train::EvaluateJob;

use super::*;
use crate::folder::{Folder, Member};

const RUN: RunId = RunId(11);

fn scenes() -> (Dataset, Architecture) {
    let world = World { seed: 3, classes: 3, label_skew: 0.0, feature_shift: 0.0, concept_shift: 0.0 };
    let dataset = scene_dataset(&world, &Arc::new(world.site(0)), 0..13, (96, 96));
    let spec = ModelSpec { preset: "nano96".to_owned(), classes: dataset.classes.clone() };
    (dataset, Architecture::new(&spec).unwrap())
}

/// A folder of a client whose run has ended.
fn folder(path: &Path, architecture: &Architecture) -> Folder {
    let client = ClientId::new("camera").unwrap();
    let member = Member { client, coordinator: "h:1".parse().unwrap(), secure: false };
    let folder = Folder::prepare(path).unwrap();
    folder.settle(&member, None).unwrap();
    let model = split(architecture.layout(), &initial(architecture, 1));
    let about =
        About { run: RUN, version: Version(4), model_digest: Digest::of(&[]), spec: architecture.spec() };
    let last = FinalModel { about, shared: model.shared, statistics: model.statistics };
    folder.store(MODEL, &last.encode()).unwrap();
    folder
}

fn resources() -> Resources {
    Resources { backend: Backend::default(), threads: 1 }
}

/// `client evaluate` must not score on images that `client run` has learned from.
#[test]
fn the_same_images_are_held_out_in_a_run_and_after_it() {
    let outer = tempfile::tempdir().unwrap();
    let (dataset, architecture) = scenes();
    let stored = StoredModel::read(&folder(outer.path(), &architecture)).unwrap();
    let client = ClientId::new("camera").unwrap();
    let grant = Grant {
        resources: resources(),
        cache_bytes: 0,
        memory_bytes: 1 << 30,
        recompute: Recompute::Auto,
        check_finite: false,
    };
    for share in [0.0, 0.2, 0.5] {
        let mut trainer = trainer(&dataset, &client, share, grant).unwrap();
        trainer.prepare(&architecture.spec()).unwrap();
        let model = stored.values(architecture.layout()).unwrap();
        let job = EvaluateJob { version: Version(4), seed: 1, norm: Norm::Frozen, model };
        let during = trainer.evaluate(job).unwrap().evaluation;
        let after = score(&stored, held_out(&dataset, &client, share), resources()).unwrap();
        assert_eq!((during.images, during.boxes), (after.images, after.boxes), "{share}");
        assert_eq!(during.images, trainer.summary().held_out);
        assert_eq!(during.global.ap, after.global.ap.max(0.0));
    }
}

/// What the device has of its own counts for the run and the model it belongs to, and for no other.
#[test]
fn predictions_use_what_the_device_made_its_own_in_this_run() {
    let outer = tempfile::tempdir().unwrap();
    let (_, architecture) = scenes();
    let layout = architecture.layout();
    let folder = folder(outer.path(), &architecture);
    let start = StoredModel::read(&folder).unwrap().values(layout).unwrap();
    let own = Device {
        personal: vec![0.5; layout.of_scope(Scope::Personal).len()],
        statistics: vec![2.0; layout.of_scope(Scope::Statistic).len()],
    };
    let with = |run: RunId, layout_digest: Digest| {
        folder.store(DEVICE, &own.encode(&Origin { run, layout: layout_digest })).unwrap();
        StoredModel::read(&folder).unwrap().values(layout).unwrap()
    };
    let found = with(RUN, layout.digest());
    assert_eq!((&found.personal, &found.statistics), (&own.personal, &own.statistics));
    assert_eq!(found.shared, start.shared);
    assert_eq!(with(RunId(12), layout.digest()), start);
    assert_eq!(with(RUN, Digest::of(&[])), start);
    // Damaged state is said, and left aside.
    folder.store(DEVICE, b"rubbish").unwrap();
    assert_eq!(StoredModel::read(&folder).unwrap().values(layout).unwrap(), start);
    folder.store(MODEL, b"rubbish").unwrap();
    let failure = StoredModel::read(&folder).unwrap_err();
    assert!(failure.line.contains("run `client run` once more"), "{failure}");
}
