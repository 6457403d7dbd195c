//! Keys: missing ones, wrong ones, new ones, and master keys that take turns.

use npayload::format::Compression;
use npayload::keys::MasterKeys;
use npayload::protocol::control::{ChannelResolve, ConfigChange, Encryption, Place};
use npayload::protocol::{
    AtomicPart, CommitRequest, ErrorCode, ExpectedPosition, PublishAtomicRequest, PublishRequest,
    PublishTarget, Request, Response,
};
use npayload::storage::disk::{CrashingDisk, Loss};
use npayload::types::{ConsumerName, LogEpoch, Offset};

use super::desk::{CANARY, Office, Settings, batch, masters, name, showing};

fn small() -> bytes::BytesMut {
    batch(Compression::None, 100)
}

/// Two channels with two batches each, the first encrypted.
fn two_channels() -> Office {
    let office = Office::with_keys(&[1]);
    office.create("secret", Encryption::On).unwrap();
    office.create("open", Encryption::Off).unwrap();
    for channel in ["secret", "open"] {
        office.publish(channel, small()).unwrap();
        office.publish(channel, small()).unwrap();
    }
    office.keep();
    office
}

#[test]
fn without_its_key_an_encrypted_channel_is_refused_and_all_else_goes_on() {
    let mut office = two_channels();
    let why = MasterKeys::unavailable("the vault is closed");
    for (masters_now, message) in [
        (masters(&[]), "none was given"),
        (masters(&[9]), "was given"),
        (why, "the vault is closed"),
    ] {
        office = office.restart(Settings::with(masters_now));
        for result in [
            office.publish("secret", small()).map(drop),
            office.fetch("secret", 0).map(drop),
            office.rotate("secret").map(drop),
        ] {
            let error = result.unwrap_err();
            assert!(error.is(ErrorCode::KeyUnavailable), "{error}");
            let details = error.details.to_string();
            assert!(details.contains("secret"), "{details}");
        }
        let error = office.fetch("secret", 0).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        assert_eq!(error.detail_u64("key"), Some(1));
        // What needs no record of it goes on.
        let info = office.info("secret");
        assert_eq!((info.log_end, info.damage.len()), (Offset(4), 0));
        assert!(info.writes_refused.unwrap().contains(message));
        assert!(
            info.encryption_key
                .unwrap()
                .locked
                .unwrap()
                .contains(message)
        );
        let resolve = ChannelResolve {
            channel: name("secret"),
            at: Place::Back(1),
        };
        let Response::ChannelResolve(resolved) =
            office.ask(Request::ChannelResolve(resolve)).unwrap()
        else {
            panic!("not a place");
        };
        assert_eq!(resolved.offset, Offset(3));
        let commit = CommitRequest {
            channel: name("secret"),
            incarnation: None,
            consumer: ConsumerName::parse("c").unwrap(),
            offset: Offset(2),
            log_epoch: LogEpoch(0),
            expected_previous: ExpectedPosition::Any,
            metadata: String::new(),
        };
        office.ask(Request::Commit(commit)).unwrap();
        office.publish("open", small()).unwrap();
        assert!(office.read_all("open", 0).unwrap().len() > 2);
        let health = office.health();
        assert!(!health.ok);
        assert_eq!((health.locked_channels, health.refusing_channels), (1, 1));
        assert_eq!(health.refusals[0].channel, "secret");
    }
    assert_eq!(
        office.health().master_key.as_deref(),
        Some("the vault is closed")
    );
    let office = office.restart(Settings::with(masters(&[1])));
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 2);
    office.publish("secret", small()).unwrap();
    assert!(office.health().ok);
}

#[test]
fn without_a_master_key_no_channel_is_encrypted_and_none_is_made() {
    let office = Office::with_keys(&[]);
    let error = office.create("secret", Encryption::On).unwrap_err();
    assert!(error.is(ErrorCode::KeyUnavailable), "{error}");
    office.create("open", Encryption::Off).unwrap();
    let error = office.turn("open", Encryption::On).unwrap_err();
    assert!(error.is(ErrorCode::KeyUnavailable), "{error}");
    assert_eq!(office.info("open").config.encryption, Encryption::Off);
    let error = office.rotate("open").unwrap_err();
    assert!(error.is(ErrorCode::NotEncrypted), "{error}");
    let settings = Settings {
        is_default: true,
        ..Settings::default()
    };
    let office = office.restart(settings);
    let error = office.publish("made", small()).unwrap_err();
    assert!(error.is(ErrorCode::KeyUnavailable), "{error}");
    let error = office.fetch("made", 0).unwrap_err();
    assert!(error.is(ErrorCode::ChannelNotFound), "{error}");
    assert!(office.health().ok, "nothing that exists lacks a key");
}

#[test]
fn channels_that_a_publish_makes_are_encrypted_where_that_is_the_default() {
    let settings = Settings {
        masters: masters(&[1]),
        is_default: true,
        ..Settings::default()
    };
    let office = Office::open(CrashingDisk::new(), settings.clone());
    // Too large to share an entry with the record of the channel's creation; small enough to; and
    // two in one entry.
    office
        .publish("large", batch(Compression::None, 9_000))
        .unwrap();
    office.publish("small", small()).unwrap();
    let part = |channel: &str| {
        AtomicPart::Publish(PublishRequest {
            target: PublishTarget {
                channel: name(channel),
                incarnation: None,
                expected_offset: None,
            },
            batch: small(),
            asks: None,
        })
    };
    let parts = vec![part("both"), part("other"), part("both"), part("small")];
    office
        .ask(Request::PublishAtomic(PublishAtomicRequest {
            parts,
            asks: None,
        }))
        .unwrap();
    let disk = office.disk.after(Loss::All);
    assert!(showing(&disk, CANARY).is_empty());
    let office = Office::open(disk, settings);
    for (channel, batches) in [("large", 1), ("small", 2), ("both", 2), ("other", 1)] {
        assert_eq!(
            office.read_all(channel, 0).unwrap().len(),
            batches,
            "{channel}"
        );
        assert_eq!(
            office.info(channel).encryption_key.unwrap().id,
            1,
            "{channel}"
        );
    }
}

#[test]
fn a_new_key_begins_a_new_segment_and_old_records_keep_theirs() {
    let office = Office::with_keys(&[1]);
    office.create("secret", Encryption::On).unwrap();
    let mut key = 1;
    for _ in 0..3 {
        for _ in 0..2 {
            office.publish("secret", small()).unwrap();
        }
        office.keep();
        let info = office.rotate("secret").unwrap();
        key += 1;
        let newest = info.encryption_key.unwrap();
        assert_eq!(
            (newest.id, newest.from, newest.keys),
            (key, info.log_end, u64::from(key))
        );
    }
    assert_eq!(
        office.info("secret").segments,
        3,
        "none before its first batch"
    );
    // Also where the broker is started between the new key and the next batch.
    let office = office.restart(Settings::with(masters(&[1])));
    office.publish("secret", small()).unwrap();
    office.keep();
    assert_eq!(office.info("secret").segments, 4);
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 7);
    // Keys of what retention has removed are let go, and their numbers are not given again.
    let shorter = ConfigChange {
        retention_bytes: Some(Some(1)),
        ..ConfigChange::default()
    };
    office.update("secret", shorter).unwrap();
    office.retain();
    let info = office.info("secret");
    assert_eq!(info.encryption_key.as_ref().unwrap().keys, 1, "{info:?}");
    assert_eq!(
        office.rotate("secret").unwrap().encryption_key.unwrap().id,
        5
    );
    let start = info.log_start.0;
    assert!(start > 0 && !office.read_all("secret", start).unwrap().is_empty());
}

#[test]
fn a_key_that_has_encrypted_enough_is_replaced_by_itself() {
    let settings = Settings {
        masters: masters(&[1]),
        max_key_offsets: Some(6),
        ..Settings::default()
    };
    let office = Office::open(CrashingDisk::new(), settings.clone());
    office.create("secret", Encryption::On).unwrap();
    // Two records in each batch: a key for three of them.
    for n in 0..10 {
        let key = office.info("secret").encryption_key.unwrap();
        assert_eq!(
            key.id,
            1 + u32::try_from(n).unwrap().saturating_sub(1) / 3,
            "batch {n}"
        );
        office.publish("secret", small()).unwrap();
    }
    let office = Office::open(office.disk.after(Loss::All), settings);
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 10);
}

#[test]
fn encryption_is_turned_on_and_off_for_what_comes() {
    let office = Office::with_keys(&[1]);
    office.create("c", Encryption::Off).unwrap();
    office.publish("c", small()).unwrap();
    let info = office.turn("c", Encryption::On).unwrap();
    assert_eq!(
        (info.config.encryption, info.encryption_key.unwrap().id),
        (Encryption::On, 1)
    );
    office.publish("c", small()).unwrap();
    // Said again it changes nothing.
    assert_eq!(
        office
            .turn("c", Encryption::On)
            .unwrap()
            .encryption_key
            .unwrap()
            .id,
        1
    );
    let info = office.turn("c", Encryption::Off).unwrap();
    assert_eq!(
        (info.config.encryption, info.encryption_key.unwrap().id),
        (Encryption::Off, 1)
    );
    office.publish("c", small()).unwrap();
    assert_eq!(
        office
            .turn("c", Encryption::On)
            .unwrap()
            .encryption_key
            .unwrap()
            .id,
        2
    );
    office.publish("c", small()).unwrap();
    office.keep();
    assert_eq!(office.read_all("c", 0).unwrap().len(), 4);
    // Without the key what is in plain is served, up to the first that is not.
    let office = office.restart(Settings::default());
    assert_eq!(office.fetch("c", 0).unwrap().len(), 1);
    assert!(
        office
            .fetch("c", 2)
            .unwrap_err()
            .is(ErrorCode::KeyUnavailable)
    );
    assert_eq!(office.fetch("c", 4).unwrap().len(), 1);
}

#[test]
fn a_new_master_key_takes_over_at_a_start_and_the_old_one_opens_nothing() {
    let office = two_channels();
    office.rotate("secret").unwrap();
    office.publish("secret", small()).unwrap();
    let office = office.restart(Settings::with(masters(&[2, 1])));
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 3);
    // Also where the power goes at once.
    let office = Office::open(
        office.disk.after(Loss::All),
        Settings::with(masters(&[2, 1])),
    );
    let office = office.restart(Settings::with(masters(&[2])));
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 3);
    office.publish("secret", small()).unwrap();
    let office = office.restart(Settings::with(masters(&[1])));
    assert!(
        office
            .fetch("secret", 0)
            .unwrap_err()
            .is(ErrorCode::KeyUnavailable)
    );
    let office = office.restart(Settings::with(masters(&[2])));
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 4);
}

#[test]
fn a_channel_made_anew_has_keys_of_its_own() {
    let office = two_channels();
    let delete = npayload::protocol::control::ChannelDelete {
        name: name("secret"),
        incarnation: None,
    };
    office.ask(Request::ChannelDelete(delete)).unwrap();
    office.create("secret", Encryption::On).unwrap();
    assert_eq!(office.info("secret").encryption_key.unwrap().id, 1);
    office.publish("secret", small()).unwrap();
    let office = office.restart(Settings::with(masters(&[1])));
    assert_eq!(office.read_all("secret", 0).unwrap().len(), 1);
    assert_eq!(
        &office.first_payload("secret", 0).unwrap()[..CANARY.len()],
        CANARY
    );
}
