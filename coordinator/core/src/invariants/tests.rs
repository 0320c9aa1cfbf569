use std::sync::Arc;

use protocol::id::RunId;

use super::*;
use crate::contributions::Totals;
use crate::published::{Published, tests::version};
use crate::report::{Ending, RoundReport};
use crate::tests::support::{client, update};

fn published(number: u32) -> Effect {
    Effect::Publish(Arc::new(Published { version: Version(number), ..version() }), None)
}

fn opened(round: u32, from: u32, cohort: &[&str]) -> Effect {
    let cohort = cohort.iter().map(|&name| client(name)).collect();
    Effect::Journal(Record::RoundOpened { round: Round(round), version: Version(from), cohort, goal: 1 })
}

fn accepted(round: u32, name: &str) -> Effect {
    let (header, payload) = update(RunId(1), round, 0, &[0.5; 6]);
    Effect::Journal(Record::Accepted {
        round: Round(round),
        client: client(name),
        header,
        payload: payload.into(),
    })
}

fn receipt(round: u32, name: &str) -> Effect {
    let (header, _) = update(RunId(1), round, 0, &[0.5; 6]);
    let receipt = Receipt::Accepted { round: Round(round) };
    Effect::Receipt { client: client(name), payload: header.payload_digest, receipt }
}

fn closed(round: u32, makes: u32, contributors: u32) -> Effect {
    let after = Published { version: Version(makes), ..version() };
    let mut report = RoundReport::new(Round(round), &after, Ending::Goal, &Totals::default());
    report.contributors = contributors;
    Effect::Journal(Record::RoundClosed { report: Box::new(report) })
}

/// The last of these effects, and no earlier one, breaks the invariant of this name; `None`: all hold.
#[track_caller]
fn check(effects: &[Effect], expected: Option<&str>) {
    let mut checker = Checker::new(1);
    for (index, effect) in effects.iter().enumerate() {
        let last = index + 1 == effects.len();
        let found = checker.observe(effect).err().map(|violation| violation.name);
        assert_eq!(found, expected.filter(|_| last), "effect {index}");
    }
}

#[test]
fn a_round_in_order_holds() {
    let round = [
        opened(1, 0, &["a"]),
        accepted(1, "a"),
        receipt(1, "a"),
        closed(1, 1, 1),
        published(1),
        receipt(1, "a"),
    ];
    let effects: Vec<_> =
        [published(0)].into_iter().chain(round).chain([published(1), opened(2, 1, &["a"])]).collect();
    check(&effects, None);
}

#[test]
fn what_must_not_happen_is_seen() {
    let start = [published(0), opened(1, 0, &["a", "b"])];
    let after = |more: &[Effect]| [start.as_slice(), more].concat();
    check(&[published(1)], Some("a version is published only from a closed round"));
    check(&[published(0), opened(1, 1, &["a"])], Some("a round starts from the published version"));
    check(&[published(0), opened(1, 0, &["b", "a"])], Some("a cohort names each client once, in order"));
    check(&[published(0), opened(1, 0, &["a", "a"])], Some("a cohort names each client once, in order"));
    check(&after(&[opened(2, 0, &["a"])]), Some("one round is open at a time"));
    check(&after(&[receipt(1, "a")]), Some("an acknowledged update is durable"));
    check(
        &after(&[accepted(2, "a")]),
        Some("a client counts at most once in a version, by an update of the open round"),
    );
    check(
        &after(&[accepted(1, "a"), accepted(1, "a")]),
        Some("a client counts at most once in a version, by an update of the open round"),
    );
    check(&after(&[closed(1, 1, 0)]), Some("a version is made of enough updates"));
    check(
        &after(&[accepted(1, "a"), closed(1, 1, 2)]),
        Some("every accepted update counts, carried ones too"),
    );
    check(&after(&[accepted(1, "a"), closed(1, 2, 1)]), Some("versions follow one another"));
    check(&after(&[accepted(1, "a"), published(1)]), Some("a version is published only from a closed round"));
    let abandoned = Effect::Journal(Record::RoundAbandoned { round: Round(1) });
    check(&after(&[abandoned.clone(), opened(1, 0, &["a"])]), Some("rounds are numbered upwards"));
    let carried = after(&[accepted(1, "a"), abandoned, opened(2, 0, &["b"])]);
    let then = |more: &[Effect]| [carried.as_slice(), more].concat();
    check(&then(&[accepted(2, "b"), closed(2, 1, 2)]), None);
    check(
        &then(&[accepted(2, "b"), closed(2, 1, 1)]),
        Some("every accepted update counts, carried ones too"),
    );
    check(
        &then(&[accepted(2, "a")]),
        Some("a client counts at most once in a version, by an update of the open round"),
    );
}
