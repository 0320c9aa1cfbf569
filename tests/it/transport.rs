//! Bad links: connections that break again and again in the middle of an upload.

use std::sync::Arc;

use coordinator_core::Settings;
use fovea_tests::{Flat, Site};

/// What 256 kbit/s carry in 20 seconds, bytes.
const CUT_AFTER: u64 = 640_000;
/// Weights: a dense update is cut three times.
const VALUES: usize = 500_000;
const CLIENTS: u32 = 2;

/// Every upload completes, and at most a tenth of its bytes is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_complete_over_a_link_that_is_cut_again_and_again() {
    let flat = Flat { values: VALUES };
    let mut settings =
        Settings { preset: "flat".to_owned(), rounds: 1, min_clients: CLIENTS, ..Settings::default() };
    settings.uplink.codec = "dense".to_owned();
    let site = Site::cut_after(settings, CUT_AFTER).await.with_learning(Arc::new(flat));
    let coordinator = site.coordinator();
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let name = format!("camera-{index}");
        site.join(&name).await;
        clients.push(site.client(&name, Box::new(flat), |_| ()));
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
