//! Any bytes as a snapshot, a delta, a stored residual or a statistics report: refused, or written again as the same bytes (a residual:
//! as bytes that mean the same, since what is far below the range of an f32 loses digits).
#![no_main]

use std::sync::Arc;

use codec::delta::Delta;
use codec::residual::{Lineage, Residual};
use codec::snapshot::{decode_snapshot, encode_snapshot};
use codec::statistics::{Report, StatisticsLayout};
use libfuzzer_sys::fuzz_target;
use params::{Canonical, Digest, Layout, Scope, TensorSpec};

fn layout(names: [&str; 2], scope: Scope) -> Layout {
    let spec = |name: &str| TensorSpec { name: name.into(), shape: vec![6], scope };
    Layout::new(names.map(spec).to_vec()).expect("a layout")
}

fuzz_target!(|body: &[u8]| {
    let bytes = codec::sealed(body);
    let shared = Arc::new(layout(["a", "b"], Scope::Shared));
    let statistics = StatisticsLayout::new(&layout(["n.mean", "n.var"], Scope::Statistic)).expect("pairs");
    if let Ok((model, values)) = decode_snapshot(&shared, &statistics, &bytes) {
        assert_eq!(encode_snapshot(&statistics, &model, &values), bytes);
    }
    let model = Canonical::from_values(shared, &[1.0; 12]).expect("ones");
    if let Ok((heading, delta)) = Delta::decode(&model, statistics.len(), &bytes) {
        assert_eq!(delta.encode(&heading, &model, statistics.len()), bytes);
    }
    let lineage = Lineage { run: 1, layout: Digest([0; 32]) };
    if let Ok(residual) = Residual::decode(&bytes, lineage, 12) {
        assert_eq!(Residual::decode(&residual.encode(), lineage, 12), Ok(residual));
    }
    let _ = Report::decode(&statistics, &bytes);
});
