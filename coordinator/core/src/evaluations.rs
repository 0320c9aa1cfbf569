//! What clients say of one version, added up in an order-independent way and memory independent of their number.

use codec::statistics::{Report as StatisticsReport, StatisticsLayout, StatisticsSum, codes};
use detection::histogram::{ApHistogram, HistogramConfig};
use params::{Scope, Share};
use protocol::evaluation::{Evaluation, ModelScore};
use protocol::limits::EVALUATION_BYTES_MAX;
use protocol::plan::Norm;

use crate::config::RunConfig;
use crate::published::Published;
use crate::report::RoundReport;

/// AP is summed in multiples of 10^-12, so that no order of arrival shows.
const UNIT: f64 = 1e12;

/// Evaluations of one version so far.
#[derive(Debug)]
pub(crate) struct Evaluations {
    statistics: Option<StatisticsSum>,
    statistics_layout: Option<StatisticsLayout>,
    statistics_shift: u32,
    classes: usize,
    weight_cap: u32,
    merged: Option<ApHistogram>,
    evaluators: u32,
    global: u64,
    personal: u64,
    worst: u64,
    bytes: u64,
}

impl Evaluations {
    /// None yet. Statistics are pooled unless the run's batch norm is frozen.
    pub(crate) fn new(config: &RunConfig, published: &Published, classes: usize) -> Self {
        let settings = config.settings();
        let pools = settings.train.norm == Norm::Local;
        let layout = published.layout.of_scope(Scope::Statistic);
        let statistics_layout =
            StatisticsLayout::new(&layout).ok().filter(|layout| pools && !layout.is_empty());
        Self {
            statistics: statistics_layout.clone().map(StatisticsSum::new),
            statistics_layout,
            statistics_shift: settings.downlink.statistics_shift(published.version, settings.rounds),
            classes,
            weight_cap: settings.weight_cap,
            merged: None,
            evaluators: 0,
            global: 0,
            personal: 0,
            worst: u64::MAX,
            bytes: 0,
        }
    }

    /// Adds one client's evaluation, all of it or nothing. `share` are the channels it was asked for.
    ///
    /// # Errors
    /// One line saying what cannot be right.
    pub(crate) fn add(&mut self, evaluation: &Evaluation, share: Share) -> Result<(), String> {
        let Evaluation { global, personal, statistics, .. } = evaluation;
        let bytes = global.histogram.len() + personal.histogram.len() + statistics.len();
        if bytes > EVALUATION_BYTES_MAX {
            return Err(format!("{bytes} bytes, more than {EVALUATION_BYTES_MAX}"));
        }
        check("global", global)?;
        check("personal", personal)?;
        let histogram = self.histogram(&global.histogram)?;
        let report = self.statistics_report(evaluation, share)?;

        if let (Some(sum), Some(report)) = (&mut self.statistics, report) {
            let weight = evaluation.statistics_images.min(self.weight_cap);
            sum.add(&report, weight).map_err(|error| error.to_string())?;
        }
        self.bytes += bytes as u64;
        if evaluation.images == 0 || evaluation.boxes == 0 {
            return Ok(());
        }
        if let Some(histogram) = histogram {
            match &mut self.merged {
                Some(merged) => merged.merge(&histogram).map_err(|error| error.to_string())?,
                None => self.merged = Some(histogram),
            }
        }
        let units = |score: &ModelScore| (score.ap50 * UNIT).round() as u64;
        self.evaluators += 1;
        self.global += units(global);
        self.personal += units(personal);
        self.worst = self.worst.min(units(global));
        Ok(())
    }

    fn histogram(&self, bytes: &[u8]) -> Result<Option<ApHistogram>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let decoded = ApHistogram::decode(bytes, HistogramConfig::default(), self.classes);
        decoded.map(Some).map_err(|error| error.to_string())
    }

    fn statistics_report(
        &self,
        evaluation: &Evaluation,
        share: Share,
    ) -> Result<Option<StatisticsReport>, String> {
        let Some(layout) = &self.statistics_layout else { return Ok(None) };
        if evaluation.statistics.is_empty() || evaluation.statistics_images == 0 {
            return Ok(None);
        }
        let report = StatisticsReport::decode(layout, &evaluation.statistics);
        let report = report.map_err(|error| format!("statistics: {error}"))?;
        if report.share() != share {
            let [expected, found] = [share, report.share()].map(|share| (share.part(), share.of()));
            return Err(format!("statistics of share {found:?}, asked for {expected:?}"));
        }
        Ok(Some(report))
    }

    /// The statistics pooled over all clients that reported some, in whole steps from the `published` ones; `None` when nobody did. What the
    /// rounding leaves is not kept: the next reports are relative to what is published, and measure it again.
    pub(crate) fn pooled(&self, published: &[f32]) -> Option<Vec<f32>> {
        let sum = self.statistics.as_ref().filter(|sum| sum.weight() > 0)?;
        let layout = self.statistics_layout.as_ref()?;
        Some(codes::approach(layout, published, &sum.pooled(published), self.statistics_shift))
    }

    /// Writes the federated figures into a report.
    pub(crate) fn fill(&self, report: &mut RoundReport) {
        report.evaluation_bytes = self.bytes;
        report.evaluators = self.evaluators;
        if self.evaluators == 0 {
            return;
        }
        let mean = |sum: u64| Some(sum as f64 / UNIT / f64::from(self.evaluators));
        report.ap50_global = mean(self.global);
        report.ap50_personal = mean(self.personal);
        report.ap50_worst = Some(self.worst as f64 / UNIT);
        report.ap50_merged = self.merged.as_ref().and_then(ApHistogram::ap50).map(|estimate| estimate.value);
    }
}

fn check(which: &str, score: &ModelScore) -> Result<(), String> {
    for (name, value) in [("ap50", score.ap50), ("ap", score.ap)] {
        // Written so that NaN is refused too.
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("{name} of the {which} model is {value}, outside 0 to 1"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
