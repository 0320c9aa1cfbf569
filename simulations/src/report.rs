//! What a simulation leaves behind: `report.json` for scripts, and one HTML page for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use coordinator_core::report::RoundReport;
use serde::Serialize;

use crate::chart::{Axis, Chart, Series, escape, short};

/// A simulated run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The scenario's title.
    pub title: String,
    /// The seed.
    pub seed: u64,
    /// Devices.
    pub clients: u32,
    /// Whether all rounds were run.
    pub complete: bool,
    /// Why the run ended, one line.
    pub reason: String,
    /// Virtual seconds from start to end.
    pub virtual_seconds: f64,
    /// Every round, in order.
    pub rounds: Vec<RoundReport>,
    /// How many rounds each device contributed to: contributions -> devices.
    pub participation: BTreeMap<u32, u32>,
    /// Accepted updates in all.
    pub updates: u64,
}

impl RunReport {
    /// The page: self-contained, no script, nothing fetched.
    pub fn html(&self) -> String {
        let mut page = String::from(HEAD);
        let title = if self.title.is_empty() { "Simulation" } else { &self.title };
        let _ = writeln!(
            page,
            "<title>{0}</title></head><body><h1>{0}</h1><p>{1} devices, {2} rounds, seed {3}: {4}. {5} of virtual time, \
             {6} updates accepted.</p>",
            escape(title),
            self.clients,
            self.rounds.len(),
            self.seed,
            escape(&self.reason),
            duration(self.virtual_seconds),
            self.updates
        );
        for chart in self.charts() {
            page += &chart.figure();
        }
        page += &self.participation_figure();
        page += &self.table();
        page + "</body></html>\n"
    }

    fn series(&self, name: &str, value: impl Fn(&RoundReport) -> Option<f64>) -> Series {
        let points = self.rounds.iter().filter_map(|round| Some((f64::from(round.round.0), value(round)?)));
        Series { name: name.to_owned(), points: points.collect() }
    }

    fn charts(&self) -> [Chart<'_>; 3] {
        [
            Chart {
                title: "AP50 per round",
                x_label: "round",
                y_label: "AP50",
                x_axis: Axis::Linear,
                series: vec![
                    self.series("global, mean of clients", |round| round.ap50_global),
                    self.series("personal, mean of clients", |round| round.ap50_personal),
                    self.series("global, worst client", |round| round.ap50_worst),
                    self.series("central", |round| round.ap50),
                ],
            },
            Chart {
                title: "Payload bytes per contributor and round",
                x_label: "round",
                y_label: "bytes",
                x_axis: Axis::Linear,
                series: vec![
                    self.series("update", |round| per(round.uplink_bytes, round.contributors)),
                    self.series("evaluation", |round| per(round.evaluation_bytes, round.evaluators)),
                    self.series("version, per fetch", |round| per(round.downlink_bytes, round.fetches)),
                ],
            },
            Chart {
                title: "Participation per round",
                x_label: "round",
                y_label: "clients",
                x_axis: Axis::Linear,
                series: vec![
                    self.series("asked", |round| Some(f64::from(round.asked))),
                    self.series("contributors", |round| Some(f64::from(round.contributors))),
                ],
            },
        ]
    }

    fn participation_figure(&self) -> String {
        let points =
            self.participation.iter().map(|(times, devices)| (f64::from(*times), f64::from(*devices)));
        let series = vec![Series { name: "devices".to_owned(), points: points.collect() }];
        let title = "Devices by number of rounds they contributed to";
        let (x_label, y_label) = ("rounds contributed to", "devices");
        Chart { title, x_label, y_label, x_axis: Axis::Linear, series }.figure()
    }

    fn table(&self) -> String {
        let mut table = String::from(
            "<table><thead><tr><th>round<th>version<th>digest<th>asked<th>contributors<th>up<th>of dense<th>down<th>seconds\
             <th>AP50 global<th>personal<th>worst</tr></thead><tbody>\n",
        );
        let ap = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
        for round in &self.rounds {
            let digest: String = round.model_digest.to_string().chars().take(12).collect();
            let ratio = per(round.dense_bytes, u32::try_from(round.uplink_bytes).unwrap_or(u32::MAX));
            let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("1/{ratio:.0}"));
            let _ = writeln!(
                table,
                "<tr><td>{}<td>{}{}<td><code>{digest}</code><td>{}<td>{}<td>{}<td>{ratio}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                round.round,
                round.version,
                if round.abandoned { " (abandoned)" } else { "" },
                round.asked,
                round.contributors,
                short(round.uplink_bytes as f64),
                short(round.downlink_bytes as f64),
                short(round.seconds),
                ap(round.ap50_global),
                ap(round.ap50_personal),
                ap(round.ap50_worst)
            );
        }
        table + "</tbody></table>\n"
    }
}

fn per(whole: u64, parts: u32) -> Option<f64> {
    (parts > 0).then(|| whole as f64 / f64::from(parts))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 7200.0 => format!("{:.1} hours", s / 3600.0),
        s if s >= 120.0 => format!("{:.1} minutes", s / 60.0),
        s => format!("{s:.1} seconds"),
    }
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
content=\"width=device-width\"><style>body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;\
color:#222}h1{font-size:1.4rem}figure{margin:1.6rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}svg \
text{font:11px system-ui,sans-serif;fill:#555}.legend{margin:.2rem 0;font-size:.85rem}table{border-collapse:collapse;\
font-size:.8rem;width:100%}td,th{padding:.15rem .4rem;text-align:right;border-bottom:1px solid #eee}</style>\n";
