use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::broker::config::Encryption;
use crate::folding::{EventError, Folded};
use crate::keys::Wrapped;
use crate::region::directory::Spread;
use crate::types::Durability;

const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);

fn name(text: &str) -> ChannelName {
    ChannelName::parse_any(text).unwrap()
}

fn created(text: &str, incarnation: Incarnation) -> Created {
    Created {
        name: name(text),
        incarnation,
        config: ChannelConfig::default(),
        at: Timestamp(10),
        copy: None,
    }
}

fn create(text: &str, incarnation: Incarnation) -> DirectoryEvent {
    DirectoryEvent::Created(created(text, incarnation))
}

fn update(incarnation: Incarnation) -> DirectoryEvent {
    DirectoryEvent::Updated(Updated {
        incarnation,
        config: ChannelConfig {
            durability: Durability::Written,
            ..ChannelConfig::default()
        },
    })
}

fn delete(text: &str, incarnation: Incarnation) -> DirectoryEvent {
    DirectoryEvent::Deleted(Deleted {
        incarnation,
        name: name(text),
        at: Timestamp(20),
    })
}

fn rename(text: &str, incarnation: Incarnation, to: &str) -> DirectoryEvent {
    DirectoryEvent::Renamed(Renamed {
        incarnation,
        name: name(text),
        to: name(to),
        at: Timestamp(15),
    })
}

fn remove(incarnation: Incarnation) -> DirectoryEvent {
    DirectoryEvent::Removed(Removed { incarnation })
}

fn trim(incarnation: Incarnation, log_start: u64) -> DirectoryEvent {
    DirectoryEvent::Trimmed(Trimmed {
        incarnation,
        log_start: Offset(log_start),
    })
}

fn folded(part: u32, parts: u32, rows: Vec<ChannelRow>) -> DirectoryEvent {
    DirectoryEvent::Folded(Folded { part, parts, rows })
}

fn row(text: &str, incarnation: Incarnation) -> ChannelRow {
    ChannelRow {
        incarnation,
        channel: Channel {
            name: name(text),
            config: ChannelConfig::default(),
            created_at: Timestamp(10),
            log_start: Offset(0),
            deleted_at: None,
            keys: Vec::new(),
            copy: None,
        },
    }
}

/// The state of a master key is of no interest here.
fn wrapped(by: &str) -> Wrapped {
    Wrapped {
        master_key: by.repeat(16).parse().unwrap(),
        wrapped: "AAAA".to_owned(),
    }
}

fn key(id: u32, from: u64) -> WrappedKey {
    WrappedKey {
        id,
        from: Offset(from),
        created_at: Timestamp(30),
        wrapped: wrapped("a"),
    }
}

fn add_key(incarnation: Incarnation, id: u32, from: u64) -> DirectoryEvent {
    let key = key(id, from);
    DirectoryEvent::KeyAdded(KeyAdded { incarnation, key })
}

fn rewrap(incarnation: Incarnation, key_id: u32) -> DirectoryEvent {
    DirectoryEvent::KeyRewrapped(KeyRewrapped {
        incarnation,
        key_id,
        wrapped: wrapped("b"),
    })
}

fn encrypt(incarnation: Incarnation) -> DirectoryEvent {
    DirectoryEvent::Updated(Updated {
        incarnation,
        config: ChannelConfig {
            encryption: Encryption::On,
            ..ChannelConfig::default()
        },
    })
}

fn after(events: &[DirectoryEvent]) -> Directory {
    let mut state = Directory::default();
    for event in events {
        state.apply(event).unwrap();
    }
    state
}

#[track_caller]
fn refused(state: &Directory, event: &DirectoryEvent) {
    let mut tried = state.clone();
    let error = tried.apply(event).unwrap_err();
    assert_eq!(&tried, state, "a refused event has changed the state");
    assert_eq!(error.event, event.record_type());
}

#[test]
fn absent_to_live_by_creation() {
    let state = after(&[create("a", FIRST)]);
    let channel = row("a", FIRST).channel;
    assert_eq!(state.by_name("a"), Some((FIRST, &channel)));
    assert_eq!(state.by_incarnation(FIRST), Some(&channel));
    assert_eq!(state.log_start(FIRST), Some(Offset(0)));
}

#[test]
fn live_to_live_by_an_update_of_the_configuration() {
    let state = after(&[create("a", FIRST), update(FIRST)]);
    let channel = state.by_incarnation(FIRST).unwrap();
    assert_eq!(channel.config.durability, Durability::Written);
}

#[test]
fn live_to_live_by_a_trim_that_raises_the_log_start() {
    let state = after(&[create("a", FIRST), trim(FIRST, 5), trim(FIRST, 6)]);
    assert_eq!(state.log_start(FIRST), Some(Offset(6)));
    refused(&state, &trim(FIRST, 6));
    refused(&state, &trim(FIRST, 5));
}

#[test]
fn live_to_deleting_frees_the_name_and_keeps_the_files_known() {
    let state = after(&[create("a", FIRST), delete("a", FIRST)]);
    assert_eq!(state.by_name("a"), None);
    assert_eq!(state.log_start(FIRST), None);
    assert_eq!(state.len(), 0);
    let deleting: Vec<_> = state.deleting().collect();
    assert_eq!(deleting.len(), 1);
    assert_eq!(deleting[0].0, FIRST);
    assert_eq!(deleting[0].1.deleted_at, Some(Timestamp(20)));
}

#[test]
fn deleting_to_absent_once_the_files_are_gone() {
    let state = after(&[create("a", FIRST), delete("a", FIRST), remove(FIRST)]);
    assert_eq!(state, Directory::default());
}

#[test]
fn a_name_created_again_is_another_channel() {
    let state = after(&[
        create("a", FIRST),
        trim(FIRST, 5),
        delete("a", FIRST),
        create("a", SECOND),
    ]);
    let (incarnation, channel) = state.by_name("a").unwrap();
    assert_eq!((incarnation, channel.log_start), (SECOND, Offset(0)));
    let mut removed = state.clone();
    removed.apply(&remove(FIRST)).unwrap();
    assert_eq!(removed, after(&[create("a", SECOND)]));
}

#[test]
fn what_is_absent_can_only_be_created() {
    let state = Directory::default();
    for event in [
        update(FIRST),
        delete("a", FIRST),
        remove(FIRST),
        trim(FIRST, 1),
    ] {
        refused(&state, &event);
    }
}

#[test]
fn what_is_live_can_be_neither_created_again_nor_removed() {
    let state = after(&[create("a", FIRST)]);
    refused(&state, &create("a", SECOND));
    refused(&state, &create("b", FIRST));
    refused(&state, &remove(FIRST));
    refused(&state, &delete("b", FIRST));
}

#[test]
fn what_is_being_deleted_can_only_be_removed() {
    let state = after(&[create("a", FIRST), delete("a", FIRST)]);
    for event in [
        create("b", FIRST),
        update(FIRST),
        delete("a", FIRST),
        trim(FIRST, 1),
    ] {
        refused(&state, &event);
    }
}

#[test]
fn a_channel_is_created_once_and_only_with_a_good_configuration() {
    let state = after(&[
        create("a", FIRST),
        create("gone", SECOND),
        delete("gone", SECOND),
    ]);
    let third = Incarnation(3);
    assert_eq!(
        state.check_create(created("b", third)),
        Ok(create("b", third))
    );
    assert_eq!(
        state.check_create(created("a", third)),
        Err(CreateError::Exists {
            name: name("a"),
            incarnation: FIRST
        })
    );
    assert_eq!(
        state.check_create(created("b", SECOND)),
        Err(CreateError::IncarnationTaken {
            incarnation: SECOND
        })
    );
    assert_eq!(
        state.check_create(created("__b", third)),
        Err(CreateError::Internal { name: name("__b") })
    );
    let mut bad = created("b", third);
    bad.config.segment_bytes = 1;
    let error = state.check_create(bad).unwrap_err();
    assert!(matches!(
        error,
        CreateError::Config(InvalidConfig {
            field: "segmentBytes",
            ..
        })
    ));
}

#[test]
fn clients_change_and_delete_only_live_channels_that_are_not_internal() {
    let state = after(&[
        create("a", FIRST),
        create("gone", SECOND),
        delete("gone", SECOND),
        create("__own", Incarnation(3)),
    ]);
    let change = ConfigChange {
        durability: Some(Durability::Written),
        ..ConfigChange::default()
    };
    assert_eq!(state.check_update(FIRST, &change), Ok(update(FIRST)));
    assert_eq!(
        state.check_delete(FIRST, Timestamp(20)),
        Ok(delete("a", FIRST))
    );
    for (incarnation, error) in [
        (
            SECOND,
            ChangeError::Deleted {
                name: name("gone"),
                incarnation: SECOND,
            },
        ),
        (
            Incarnation(3),
            ChangeError::Internal {
                name: name("__own"),
            },
        ),
        (
            Incarnation(4),
            ChangeError::NotFound {
                incarnation: Incarnation(4),
            },
        ),
    ] {
        assert_eq!(state.check_update(incarnation, &change), Err(error.clone()));
        assert_eq!(state.check_delete(incarnation, Timestamp(20)), Err(error));
    }
    let bad = ConfigChange {
        retention_days: Some(Some(0)),
        ..ConfigChange::default()
    };
    let error = state.check_update(FIRST, &bad).unwrap_err();
    assert!(matches!(error, ChangeError::Config(_)));
}

#[test]
fn names_come_sorted_and_by_prefix() {
    let state = after(&["b.x", "a", "b", "b.a", "c", "__own"].map(|text| {
        let incarnation = Incarnation(text.bytes().map(u128::from).sum());
        create(text, incarnation)
    }));
    let names = |prefix| -> Vec<&str> { state.names(prefix).map(ChannelName::as_str).collect() };
    assert_eq!(names(""), ["__own", "a", "b", "b.a", "b.x", "c"]);
    assert_eq!(names("b"), ["b", "b.a", "b.x"]);
    assert_eq!(names("b."), ["b.a", "b.x"]);
    assert_eq!(names("d"), [] as [&str; 0]);
    let all: Vec<_> = state.iter().map(|(_, c)| c.name.as_str()).collect();
    assert_eq!(all, names(""));
}

#[test]
fn the_json_of_each_event_is_stable() {
    let id = FIRST.to_string();
    let config = serde_json::to_string(&ChannelConfig::default()).unwrap();
    let written = config.replace("synced", "written");
    let mut trimmed = row("a", FIRST);
    trimmed.channel.log_start = Offset(5);
    trimmed.channel.deleted_at = Some(Timestamp(20));
    for (event, json) in [
        (
            create("a", FIRST),
            format!(
                r#"{{"v":1,"type":"channel.created","name":"a","incarnation":"{id}","config":{config},"at":10}}"#
            ),
        ),
        (
            update(FIRST),
            format!(
                r#"{{"v":1,"type":"channel.updated","incarnation":"{id}","config":{written}}}"#
            ),
        ),
        (
            delete("a", FIRST),
            format!(
                r#"{{"v":1,"type":"channel.deleted","incarnation":"{id}","name":"a","at":20}}"#
            ),
        ),
        (
            remove(FIRST),
            format!(r#"{{"v":1,"type":"channel.removed","incarnation":"{id}"}}"#),
        ),
        (
            trim(FIRST, 5),
            format!(r#"{{"v":1,"type":"channel.trimmed","incarnation":"{id}","logStart":5}}"#),
        ),
        (
            folded(1, 1, vec![trimmed]),
            format!(
                r#"{{"v":1,"type":"directory.folded","part":1,"parts":1,"rows":[{{"incarnation":"{id}","name":"a","config":{config},"createdAt":10,"logStart":5,"deletedAt":20}}]}}"#
            ),
        ),
    ] {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = DirectoryEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

#[test]
fn an_unknown_event_is_kept_as_it_is_and_a_newer_version_is_called_unsupported() {
    let event = DirectoryEvent::decode("channel.moved", b"{}").unwrap();
    assert_eq!(
        (event.record_type(), event.encode()),
        ("channel.moved", b"{}".to_vec())
    );
    assert_eq!(
        after(&[create("a", FIRST), event]),
        after(&[create("a", FIRST)])
    );
    let newer = br#"{"v":6,"type":"channel.created"}"#;
    let error = DirectoryEvent::decode("channel.created", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 6, .. }
    ));
}

#[test]
fn the_keys_of_a_channel_are_numbered_wrapped_anew_and_let_go_with_what_they_encrypt() {
    let ids = |state: &Directory| -> Vec<u32> {
        let keys = &state.by_incarnation(FIRST).unwrap().keys;
        keys.iter().map(|key| key.id).collect()
    };
    let none = after(&[create("a", FIRST), encrypt(FIRST)]);
    refused(&none, &add_key(FIRST, 2, 0));
    refused(&none, &add_key(FIRST, 0, 0));
    refused(&none, &add_key(SECOND, 1, 0));
    refused(&none, &rewrap(FIRST, 1));
    let mut state = none;
    for event in [
        add_key(FIRST, 1, 0),
        add_key(FIRST, 2, 10),
        add_key(FIRST, 3, 20),
    ] {
        state.apply(&event).unwrap();
    }
    refused(&state, &add_key(FIRST, 3, 30));
    refused(&state, &rewrap(FIRST, 4));
    state.apply(&rewrap(FIRST, 2)).unwrap();
    assert_eq!(ids(&state), [1, 2, 3]);
    let keys = &state.by_incarnation(FIRST).unwrap().keys;
    assert_eq!((&keys[0], &keys[1].wrapped), (&key(1, 0), &wrapped("b")));
    for (log_start, left) in [(9, vec![1, 2, 3]), (10, vec![2, 3]), (500, vec![3])] {
        state.apply(&trim(FIRST, log_start)).unwrap();
        assert_eq!(ids(&state), left, "log start {log_start}");
    }
    refused(&state, &add_key(FIRST, 3, 600));
    state.apply(&add_key(FIRST, 4, 600)).unwrap();
    state.apply(&delete("a", FIRST)).unwrap();
    refused(&state, &add_key(FIRST, 5, 700));
}

#[test]
fn a_broker_that_knows_no_encryption_refuses_every_event_that_tells_of_it() {
    let id = FIRST.to_string();
    let mut with_key = row("a", FIRST);
    with_key.channel.keys = vec![key(1, 7)];
    let mut encrypted = created("a", FIRST);
    encrypted.config.encryption = Encryption::On;
    let json = |event: &DirectoryEvent| String::from_utf8(event.encode()).unwrap();
    let wrapped = r#""masterKey":"aaaaaaaaaaaaaaaa","wrapped":"AAAA""#;
    let new_key = format!(r#"{{"id":1,"from":7,"createdAt":30,{wrapped}}}"#);
    assert_eq!(
        json(&add_key(FIRST, 1, 7)),
        format!(r#"{{"v":2,"type":"channel.keyAdded","incarnation":"{id}","key":{new_key}}}"#)
    );
    let by_another = wrapped.replace("aaaa", "bbbb");
    assert_eq!(
        json(&rewrap(FIRST, 1)),
        format!(
            r#"{{"v":2,"type":"channel.keyRewrapped","incarnation":"{id}","keyId":1,{by_another}}}"#
        )
    );
    for event in [
        add_key(FIRST, 1, 7),
        rewrap(FIRST, 1),
        encrypt(FIRST),
        DirectoryEvent::Created(encrypted),
        folded(1, 2, vec![row("b", SECOND), with_key]),
    ] {
        let json = json(&event);
        assert!(json.starts_with(r#"{"v":2,"#), "{json}");
        let decoded = DirectoryEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

#[test]
fn a_state_record_is_whole_or_refused() {
    let begun = after(&[create("old", FIRST), folded(1, 2, vec![row("a", FIRST)])]);
    assert!(begun.by_name("old").is_some());
    for event in [
        create("b", SECOND),
        folded(1, 2, Vec::new()),
        folded(2, 2, vec![row("a", SECOND)]),
        folded(2, 2, vec![row("b", FIRST)]),
    ] {
        refused(&begun, &event);
    }
    let mut whole = begun;
    whole.apply(&folded(2, 2, vec![row("b", SECOND)])).unwrap();
    assert_eq!(whole, after(&[create("a", FIRST), create("b", SECOND)]));
}

fn event() -> impl Strategy<Value = DirectoryEvent> {
    (1..5_u128, 0..3_usize, 1..6_u64, 0..11).prop_map(|(incarnation, text, log_start, kind)| {
        let (incarnation, text) = (Incarnation(incarnation), ["a", "b", "__c"][text]);
        match kind {
            0..=2 => create(text, incarnation),
            3 => update(incarnation),
            4 => delete(text, incarnation),
            5 => remove(incarnation),
            6 => add_key(
                incarnation,
                1 + u32::try_from(log_start).unwrap() % 3,
                log_start,
            ),
            7 => rewrap(incarnation, u32::try_from(log_start).unwrap()),
            8 => encrypt(incarnation),
            _ => trim(incarnation, log_start),
        }
    })
}

proptest! {
    #[test]
    fn a_state_folded_and_read_back_is_identical_after_any_events(
        events in vec(event(), 0..60),
        max_part_bytes in 0..2000_usize,
    ) {
        let (mut state, mut replayed) = (Directory::default(), Directory::default());
        for event in &events {
            let before = state.clone();
            let result = state.apply(event);
            if result.is_err() {
                prop_assert_eq!(&state, &before);
            }
            let stored = DirectoryEvent::decode(event.record_type(), &event.encode()).unwrap();
            prop_assert_eq!(&stored, event);
            prop_assert_eq!(replayed.apply(&stored), result);
            for (incarnation, channel) in state.iter() {
                prop_assert_eq!(state.by_name(channel.name.as_str()), Some((incarnation, channel)));
            }
            prop_assert_eq!(state.len() + state.deleting().count(), state.channels.len());
        }
        prop_assert_eq!(&replayed, &state);

        let parts = state.fold_in_parts(max_part_bytes);
        let mut refolded = Directory::default();
        for part in &parts {
            let stored = DirectoryEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
            replayed.apply(&stored).unwrap();
        }
        prop_assert_eq!(&refolded, &state);
        prop_assert_eq!(&replayed, &state, "the same when it stands after what it replaces");
        prop_assert_eq!(refolded.fold_in_parts(max_part_bytes), parts);
    }
}

#[test]
fn a_channel_has_one_log_or_a_log_for_each_region_and_stays_so() {
    let each = |text: &str, incarnation| Created {
        config: ChannelConfig {
            regions: Spread::Each,
            ..ChannelConfig::default()
        },
        ..created(text, incarnation)
    };
    let mut state = Directory::default();
    let event = state.check_create(each("a@eu-west", FIRST)).unwrap();
    let json = String::from_utf8(event.encode()).unwrap();
    assert!(json.contains(r#""v":4"#), "{json}");
    assert!(json.contains(r#""regions":"each""#), "{json}");
    assert_eq!(
        DirectoryEvent::decode(event.record_type(), json.as_bytes()).unwrap(),
        event
    );
    state.apply(&event).unwrap();
    // Another region's log stands beside it, a channel of the name does not.
    let event = state.check_create(each("a@us-east", SECOND)).unwrap();
    state.apply(&event).unwrap();
    let refused = state.check_create(created("a", Incarnation(3)));
    assert!(
        matches!(&refused, Err(CreateError::Exists { name, .. }) if name.as_str() == "a@eu-west"),
        "{refused:?}"
    );
    let logs: Vec<_> = state.logs_of(&name("a")).map(|(id, _)| id).collect();
    assert_eq!(logs, [FIRST, SECOND]);
    assert_eq!(state.logs_of(&name("a-b")).count(), 0);
    for other in ["a-b", "a.b", "ab"] {
        let event = state.check_create(created(other, Incarnation(9))).unwrap();
        let mut state = state.clone();
        state.apply(&event).unwrap();
        assert_eq!(state.logs_of(&name("a")).count(), 2, "{other}");
        let refused = state.check_create(each(&format!("{other}@eu-west"), Incarnation(10)));
        assert!(matches!(refused, Err(CreateError::Exists { .. })));
    }
    let change = ConfigChange {
        regions: Some(Spread::One),
        ..ConfigChange::default()
    };
    let refused = state.check_update(FIRST, &change).unwrap_err().to_string();
    assert!(
        refused.starts_with("regions is one, but must be"),
        "{refused}"
    );
}

#[test]
fn a_channel_that_has_another_name_leaves_its_own_to_another_life() {
    let renamed = rename("a", FIRST, "__aside.00000000.a");
    let mut state = after(&[create("a", FIRST), trim(FIRST, 5), renamed.clone()]);
    assert!(state.by_name("a").is_none());
    let (id, channel) = state.by_name("__aside.00000000.a").unwrap();
    assert_eq!((id, channel.log_start), (FIRST, Offset(5)));
    state.apply(&create("a", SECOND)).unwrap();
    assert_eq!(state.by_name("a").map(|(id, _)| id), Some(SECOND));
    // It is configured, trimmed and deleted under its new name, and folded with it.
    let mut again = Directory::default();
    for event in state.fold() {
        again.apply(&event).unwrap();
    }
    assert_eq!(again, state);
    refused(&state, &delete("a", FIRST));
    state.apply(&delete("__aside.00000000.a", FIRST)).unwrap();
    for (state, event) in [
        (after(&[]), renamed.clone()),
        (after(&[create("b", FIRST)]), renamed.clone()),
        (after(&[create("a", FIRST), delete("a", FIRST)]), renamed),
        (
            after(&[create("a", FIRST), create("b", SECOND)]),
            rename("a", FIRST, "b"),
        ),
    ] {
        refused(&state, &event);
    }
    let text = rename("a", FIRST, "b");
    let text = String::from_utf8(text.encode()).unwrap();
    assert!(
        text.starts_with(r#"{"v":5,"type":"channel.renamed""#),
        "{text}"
    );
}

#[test]
fn a_copy_that_became_wider_may_be_read_from_an_earlier_offset() {
    let copy = |begins_at: u64| CopyOf {
        home: crate::types::RegionName::parse("us-east").unwrap(),
        begins_at: Offset(begins_at),
        from_start: false,
        types: None,
    };
    let widened = DirectoryEvent::Widened(Widened {
        incarnation: FIRST,
        copy: copy(2),
        log_start: Offset(2),
    });
    let created = DirectoryEvent::Created(Created {
        copy: Some(copy(7)),
        ..created("a", FIRST)
    });
    let state = after(&[created.clone(), trim(FIRST, 9), widened.clone()]);
    let channel = state.by_incarnation(FIRST).unwrap();
    assert_eq!(
        (channel.log_start, channel.begins_at()),
        (Offset(2), Offset(2))
    );
    let mut again = Directory::default();
    for event in state.fold() {
        again.apply(&event).unwrap();
    }
    assert_eq!(again, state);
    refused(&after(&[]), &widened);
    refused(&after(&[create("a", FIRST)]), &widened);
    refused(&after(&[created, delete("a", FIRST)]), &widened);
    assert!(
        widened
            .encode()
            .starts_with(br#"{"v":5,"type":"channel.widened""#)
    );
}
