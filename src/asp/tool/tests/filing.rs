//! Calls that have ended: filed, and found again.

use super::*;
use crate::folding::EventError;

#[test]
fn a_record_reads_back_and_an_unknown_one_passes_through() {
    let unknown = ToolRecord::decode("tool.dreamt", b"?").unwrap();
    assert_eq!(unknown.encode(), b"?");
    let mut tools = Tools::default();
    tools.apply(&unknown, Offset(0)).unwrap();
    assert_eq!(tools, Tools::default());
    let newer = br#"{"type":"tool.finished","v":2}"#;
    let error = ToolRecord::decode("tool.finished", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    let error = ToolRecord::decode("tool.started", newer).unwrap_err();
    assert!(matches!(error, EventError::TypeMismatch { .. }));
    let error = ToolRecord::decode("tool.finished", br#"{"type":"tool.finished","v":1}"#);
    assert!(matches!(error, Err(EventError::Json { .. })));
}

#[test]
fn filing_begins_at_the_limit_and_keeps_the_later_half() {
    let mut topic = Topic::default();
    for call in 0..MAX_HELD as u128 {
        assert_eq!(topic.tools.next_filing(), None);
        topic.start(start(call));
        topic.finish(call);
    }
    let record = topic.tools.next_filing().unwrap();
    topic.append(&record).unwrap();
    assert_eq!(topic.tools.held().count(), MAX_HELD / 2);
    assert_eq!(topic.tools.call(id(999)), None);
    assert!(topic.tools.call(id(1_000)).is_some());
    // A repetition of a call that is filed is found, and a new one is not taken for one.
    let files = [Offset(topic.records.len() as u64 - 1)];
    let search = topic.tools.check_start(start(7), &Filed::Unsearched, START);
    assert_eq!(search, Ok(Checked::Search(files.to_vec())));
    let filed = topic.search(id(7), &files);
    let found = topic.tools.check_start(start(7), &filed, START);
    assert!(matches!(found, Ok(Checked::Before(Call::Ended(_)))));
    let found = topic.tools.check_finish(finish(7, "[1,2]"), &filed, START);
    assert!(matches!(found, Ok(Checked::Before(Call::Ended(_)))));
    let between = Start {
        call: CallId(id(7).0 + 1),
        ..start(7)
    };
    let filed = topic.search(between.call, &files);
    let new = topic.tools.check_start(between, &filed, START);
    assert!(matches!(new, Ok(Checked::New(_))));
}

#[test]
fn a_week_is_found_among_many_in_few_reads() {
    let mut topic = Topic::default();
    for call in 0..3_000u128 {
        let now = START.saturating_add_ms(10 * i64::try_from(call).unwrap());
        topic.take(
            topic
                .tools
                .check_start(start(call), &Filed::Unsearched, now),
        );
        topic.take(
            topic
                .tools
                .check_finish(finish(call, "1"), &Filed::Unsearched, now),
        );
    }
    let filter = Filter {
        agent: Some(AgentId(1)),
        since: Some(START.saturating_add_ms(1_000)),
        until: Some(START.saturating_add_ms(1_200)),
        ..Filter::default()
    };
    let (found, reads) = topic.query(&filter);
    assert_eq!(found, scan(&topic.all_ended(), &filter));
    assert_eq!(found.len(), 20);
    assert!(reads <= 80, "{reads} reads");
}
