use protocol::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX, CLIENTS_MAX};

use super::*;
use crate::tests::support::{client, hello};

#[test]
fn the_union_follows_those_who_are_there() {
    let mut roster = Roster::default();
    roster.join(&client("ada"), &hello(&["dog", "cat"]), None).unwrap();
    roster.join(&client("bob"), &hello(&["cat", "bird"]), None).unwrap();
    assert_eq!(roster.union_of_classes(), ["bird", "cat", "dog"]);
    // A new session replaces the old one.
    roster.join(&client("ada"), &hello(&["cat"]), None).unwrap();
    assert_eq!((roster.len(), roster.union_of_classes()), (2, vec!["bird".into(), "cat".into()]));
    assert!(roster.leave(&client("bob")));
    assert!(!roster.leave(&client("bob")));
    assert_eq!(roster.union_of_classes(), ["cat"]);
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    let long = "x".repeat(CLASS_NAME_BYTES_MAX + 1);
    let many: Vec<_> = (0..=CLASSES_MAX).map(|index| index.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for classes in [&["\n"][..], &[""], &["cat", &long], &many] {
        let unfit = Roster::default().join(&client("ada"), &hello(classes), None).unwrap_err();
        assert!(!unfit.retry && !unfit.reason.contains('\n'), "{unfit:?}");
    }
    // All classes but one are taken: two more are too many, one known and one new are not.
    let mut roster = Roster::default();
    roster.join(&client("ada"), &hello(&many[..CLASSES_MAX - 1]), None).unwrap();
    assert!(roster.join(&client("bob"), &hello(&["new", "newer"]), None).is_err());
    assert!(roster.join(&client("bob"), &hello(&["new", "1"]), None).is_ok());
    // Once the classes are frozen, the number of others does not matter.
    let run = ["cat".to_string()];
    assert!(roster.join(&client("eve"), &hello(&["cat", "new", "newer"]), Some(&run)).is_ok());
}

#[test]
fn there_is_a_limit_to_sessions() {
    let mut roster = Roster::default();
    for index in 0..CLIENTS_MAX {
        roster.join(&client(index.to_string()), &hello(&["cat"]), None).unwrap();
    }
    assert!(roster.join(&client("one-more"), &hello(&["cat"]), None).unwrap_err().retry);
    assert!(
        roster.join(&client("7"), &hello(&["cat"]), None).is_ok(),
        "a new session of a known client is none more"
    );
}
