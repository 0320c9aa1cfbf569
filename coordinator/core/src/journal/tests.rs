use protocol::id::Version;

use super::*;
use crate::config::Settings;
use crate::contributions::Totals;
use crate::published::tests::version;
use crate::report::Ending;
use crate::tests::support::{client, header};

#[test]
fn records_survive_as_bytes() {
    let spec = ModelSpec { preset: "toy".into(), classes: vec!["a \"quoted\"\nclass".into()] };
    let settings = Box::new(Settings { over_selection: 1.1, ..Settings::default() });
    let payload: Vec<u8> = (0..=255).collect();
    let header = header(RunId(1), 3, 2, &payload);
    let mut report = Box::new(RoundReport::new(Round(3), &version(), Ending::Goal, &Totals::default()));
    (report.loss, report.ap50_global) = (Some(0.1 + 0.2), Some(1.0 / 3.0));
    let records = [
        Record::RunStarted { run: RunId(u64::MAX), settings, spec },
        Record::RoundOpened {
            round: Round(3),
            version: Version(2),
            cohort: vec![client("ada"), client("bob")],
            goal: 1,
        },
        Record::Accepted { round: Round(3), client: client("ada"), header, payload: payload.into() },
        Record::RoundClosed { report: report.clone() },
        Record::RoundEvaluated { report: report.clone(), statistics: vec![0.1, -0.0, f32::MIN_POSITIVE] },
        Record::RoundEvaluated { report, statistics: Vec::new() },
        Record::RoundAbandoned { round: Round(3) },
        Record::RoundReported { round: Round(3) },
        Record::Compacted {
            round: Round(3),
            version: Version(2),
            asked: vec![client("bob")],
            receipts: vec![(client("ada"), Round(1), Digest::of(&[b"x"]))],
        },
    ];
    for record in records {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).unwrap(), record);
    }
}

#[test]
fn bytes_of_something_else_are_refused() {
    for bytes in [
        b"".as_slice(),
        b"{}",
        b"{}\n",
        b"{\"round_reported\":{\"round\":-1}}\n",
        b"\xff\n",
        b"{\"round_reported\":{\"round\":1}}\nmore",
    ] {
        let error = Record::decode(bytes).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains('\n'));
    }
}
