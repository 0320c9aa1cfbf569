//! Bad links: connections that break again and again in the middle of an upload.

use std::path::Path;
use std::sync::Arc;

use coordinator::learning::Learning;
use coordinator_core::{InitialModel, Published, Settings};
use fovea_tests::Site;
use params::{Layout, Scope, TensorSpec};
use protocol::evaluation::{CentralScore, Evaluation};
use protocol::plan::ModelSpec;
use protocol::train::{
    DataSummary, EvaluateJob, EvaluateOutcome, TrainError, TrainJob, TrainOutcome, Trainer,
};

/// What 256 kbit/s carry in 20 seconds, bytes.
const CUT_AFTER: u64 = 640_000;
/// Weights: a dense update is cut three times.
const VALUES: usize = 500_000;
const CLIENTS: u32 = 2;

/// A model large enough for an upload to take long.
struct Flat;

fn layout() -> Arc<Layout> {
    let tensor = TensorSpec { name: "weights".to_owned(), shape: vec![VALUES], scope: Scope::Shared };
    Arc::new(Layout::new(vec![tensor]).unwrap())
}

impl Learning for Flat {
    fn knows(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn initial(&self, _: &ModelSpec, _: u64) -> Result<InitialModel, String> {
        Ok(InitialModel { layout: layout(), shared: vec![0.5; VALUES], statistics: Vec::new() })
    }

    fn score(&self, _: &ModelSpec, _: &Published) -> Result<CentralScore, String> {
        Err("there is nothing to score".to_owned())
    }

    fn save(&self, _: &Path, _: &ModelSpec, _: &Published) -> Result<(), String> {
        Ok(())
    }
}

impl Trainer for Flat {
    fn summary(&self) -> DataSummary {
        DataSummary { classes: vec!["cat".to_owned()], examples: 5, held_out: 0 }
    }

    fn prepare(&mut self, _: &ModelSpec) -> Result<Arc<Layout>, TrainError> {
        Ok(layout())
    }

    fn train(&mut self, job: TrainJob) -> Result<TrainOutcome, TrainError> {
        let mut model = job.model;
        for (index, value) in model.shared.iter_mut().enumerate() {
            *value += 1e-3 * (index as f32).sin();
        }
        Ok(TrainOutcome { model, examples: 5, steps: 1, loss: 1.0 })
    }

    fn evaluate(&mut self, job: EvaluateJob) -> Result<EvaluateOutcome, TrainError> {
        let (evaluation, statistics) = (Evaluation::default(), job.model.statistics);
        Ok(EvaluateOutcome { evaluation, statistics, statistics_images: 0 })
    }
}

/// Every upload completes, and at most a tenth of its bytes is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_complete_over_a_link_that_is_cut_again_and_again() {
    let mut settings =
        Settings { preset: "flat".to_owned(), rounds: 1, min_clients: CLIENTS, ..Settings::default() };
    settings.uplink.codec = "dense".to_owned();
    let site = Site::cut_after(settings, CUT_AFTER).await.with_learning(Arc::new(Flat));
    let coordinator = site.coordinator();
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let name = format!("camera-{index}");
        site.join(&name).await;
        clients.push(site.client(&name, Box::new(Flat), |_| ()));
    }
    assert!(coordinator.end().await.unwrap().complete);
    for client in clients {
        assert!(client.end().await.unwrap().complete);
    }
    let reports = site.reports();
    assert_eq!((reports.len(), reports[0].contributors), (1, CLIENTS));
    let (payload, heard) = (reports[0].uplink_bytes, site.network.count());
    assert!(payload > 3 * u64::from(CLIENTS) * CUT_AFTER, "{payload}");
    assert!(heard.connections > 6, "{heard:?}");
    // Each connection costs a handshake and a greeting besides.
    let sent = heard.up - heard.connections * 4000;
    assert!(sent <= payload + payload / 10, "{sent} bytes for {payload}: {heard:?}");
}
