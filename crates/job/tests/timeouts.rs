//! Timeouts stand in an order; whoever breaks it is named.

use std::time::Duration;

use rewind_job::Timeouts;

#[test]
fn the_defaults_are_in_order() {
    Timeouts::default().check().expect("are in order");
    assert_eq!(Timeouts::parse("").expect("nothing is changed"), Timeouts::default());
}

#[test]
fn durations_have_units_and_what_is_not_given_stays() {
    let timeouts =
        Timeouts::parse("heartbeat = \"250ms\"\nprepare = \"1h 30m\"\nsoft-abort = \"9s\"").expect("is valid");
    let expected = Timeouts {
        heartbeat: Duration::from_millis(250),
        prepare: Duration::from_secs(5400),
        soft_abort: Duration::from_secs(9),
        ..Timeouts::default()
    };
    assert_eq!(timeouts, expected);
}

#[test]
fn a_number_without_a_unit_is_refused() {
    for text in ["heartbeat = 3", "heartbeat = \"3\"", "heartbeat = \"-3s\"", "heartbeat = \"soon\""] {
        let error = Timeouts::parse(text).expect_err("refused");
        assert_eq!(error.field, "timeouts");
        assert!(error.problem.contains("heartbeat"), "{text}: {error}");
    }
}

#[test]
fn an_unknown_key_is_refused_by_its_name() {
    for key in ["heart-beat", "soft_abort"] {
        let error = Timeouts::parse(&format!("{key} = \"1s\"")).expect_err("refused");
        assert!(error.to_string().contains(&format!("unknown field `{key}`")), "{error}");
    }
}

#[test]
fn the_first_that_is_not_longer_than_the_one_before_it_is_named() {
    for pair in Timeouts::default().in_order().windows(2) {
        let ((shorter, limit), (longer, _)) = (pair[0], pair[1]);
        let text = format!("{longer} = \"{}ms\"", limit.as_millis());
        let error = Timeouts::parse(&text).expect_err("equal is not longer");
        assert_eq!(
            error.to_string(),
            format!("timeouts.{longer}: must be longer than {shorter} ({limit:?}), but is {limit:?}")
        );
    }
}

#[test]
fn retention_is_longer_than_two_leases() {
    let error = Timeouts::parse("retention = \"6s\"").expect_err("refused");
    assert_eq!(error.to_string(), "timeouts.retention: must be longer than two leases (3s), but is 6s");
    Timeouts::parse("retention = \"6001ms\"").expect("is longer");
}

#[test]
fn timeouts_are_written_as_they_are_read() {
    let timeouts = Timeouts::parse("lease = \"2500ms\"").expect("is valid");
    let json = serde_json::to_string(&timeouts).expect("is written");
    assert!(json.contains("\"lease\":\"2s 500ms\""), "{json}");
    assert_eq!(serde_json::from_str::<Timeouts>(&json).expect("is read"), timeouts);
}
