//! Who did what to the broker: one entry with the act, chained over restarts, bounded.

use bytes::Bytes;
use npayload::access::{
    AuditAct, AuditHash, AuditHead, AuditOutcome, AuditRecord, ChainFault, REFUSALS_AT_ONCE, verify,
};
use npayload::broker::config::ConfigChange;
use npayload::broker::{CheckedBatch, Fetch, FetchStep, Looked, Place, Target};
use npayload::format::{BatchBuilder, Compression, DoorLimits, NewRecord, check_produced, records};
use npayload::storage::disk::Loss;
use npayload::types::{LogEpoch, Offset};

use super::*;

/// The records of the topic, by offset.
fn audit(desk: &mut Desk) -> Vec<(Offset, Bytes)> {
    desk.rounds();
    let name = ChannelName::parse_any("__audit").unwrap();
    let mut fetch = Fetch::new(name.clone(), None, Place::Start, LogEpoch(0), 1 << 20);
    let mut found = Vec::new();
    loop {
        match desk.broker.fetch_step(&mut fetch).unwrap() {
            FetchStep::Run(job) => desk.broker.feed_fetch(&mut fetch, job.run()).unwrap(),
            FetchStep::Done(fetched) => {
                for part in &fetched.slices.parts {
                    let mut rest = part.clone();
                    while !rest.is_empty() {
                        let header = npayload::format::BatchHeader::peek(&rest).unwrap();
                        let batch = rest.split_to(header.len());
                        for record in records(&batch).unwrap() {
                            let record = record.unwrap();
                            assert_eq!(&*record.record_type, "audit.act");
                            found.push((record.offset, record.payload.unwrap()));
                        }
                    }
                }
                let next = fetched.slices.next;
                if next >= fetched.head.high_watermark {
                    return found;
                }
                let at = Place::Offset(next);
                fetch = Fetch::new(name.clone(), None, at, LogEpoch(0), 1 << 20);
            }
        }
    }
}

fn decoded(found: &[(Offset, Bytes)]) -> Vec<AuditRecord> {
    let records = found.iter();
    records
        .map(|(_, payload)| AuditRecord::decode(payload).unwrap())
        .collect()
}

fn check(found: &[(Offset, Bytes)]) -> Result<AuditHead, npayload::access::ChainBroken> {
    verify(
        found
            .iter()
            .map(|(offset, payload)| (*offset, &payload[..])),
    )
}

fn act(act: &'static str, target: &str) -> AuditAct {
    AuditAct {
        who: Some(ME),
        from: "127.0.0.1:50000".to_owned(),
        act,
        target: target.to_owned(),
        detail: String::new(),
        outcome: AuditOutcome::Done,
    }
}

fn refusal(who: Option<Principal>) -> AuditAct {
    AuditAct {
        who,
        outcome: AuditOutcome::Refused {
            error: "PERMISSION_DENIED",
        },
        ..act("key.create", "acme")
    }
}

fn make_org(desk: &mut Desk, text: &str) -> Result<Accepted<npayload::access::Org>, Refusal> {
    let at = desk.at();
    desk.broker.acting(act("org.create", text), |broker| {
        broker.create_org(&ME, org_name(text), Limits::default(), at)
    })
}

fn publish(desk: &mut Desk, channel: &str) {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord::default()).unwrap();
    let bytes = builder.build().unwrap();
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: false,
        zstd: false,
    };
    let header = check_produced(&bytes, &limits).unwrap();
    let target = Target {
        channel: ChannelName::parse(channel).unwrap(),
        incarnation: None,
        expected: None,
        principal: 0,
    };
    let at = desk.at();
    let mut batch = Some(CheckedBatch { header, bytes });
    desk.broker.acting(act("publish", channel), |broker| {
        broker.publish(&target, &mut batch, at).unwrap()
    });
    desk.rounds();
}

#[test]
fn every_change_is_one_entry_with_the_record_of_who_made_it() {
    let mut desk = Desk::new();
    desk.make_secret();
    let at = desk.at();
    let channel = ChannelName::parse("orders").unwrap();
    let change = ConfigChange::default();
    let mut waits = Vec::new();
    let mut done = |desk: &mut Desk, wait: Wait| {
        assert_eq!(wait, desk.broker.audit_wait());
        waits.push(wait.entry);
        desk.rounds();
    };
    let wait = make_org(&mut desk, "acme").unwrap().wait;
    done(&mut desk, wait);
    let made = desk.broker.acting(act("key.create", "ci"), |broker| {
        broker.create_key(&ME, key_request(OrgId(1)), at).unwrap()
    });
    done(&mut desk, made.wait);
    let key = made.value.0.key;
    let rotated = desk.broker.acting(act("key.rotate", "ci"), |broker| {
        broker.rotate_key(&ME, key, 1, at).unwrap()
    });
    done(&mut desk, rotated.wait);
    let created = desk
        .broker
        .acting(act("channel.create", "orders"), |broker| {
            broker
                .create_channel(channel.clone(), &change, false, at)
                .unwrap()
        });
    done(&mut desk, created.wait);
    let updated = desk
        .broker
        .acting(act("channel.update", "orders"), |broker| {
            broker.update_channel(&channel, &change, at).unwrap()
        });
    done(&mut desk, updated.wait);
    let deleted = desk
        .broker
        .acting(act("channel.delete", "orders"), |broker| {
            broker.delete_channel(&channel, None, at).unwrap()
        });
    done(&mut desk, deleted.wait);
    waits.dedup();
    assert_eq!(waits.len(), 6);
    // What is refused, changes nothing or is no act leaves none.
    let again = make_org(&mut desk, "acme").map(|made| made.value);
    assert!(matches!(refused(again).error, BrokerError::Access(_)));
    desk.broker.use_key(key, Timestamp(3_600_000));
    publish(&mut desk, "made.by.publishing");
    publish(&mut desk, "made.by.publishing");
    let found = audit(&mut desk);
    let records = decoded(&found);
    let acts: Vec<&str> = records.iter().map(|record| &*record.act).collect();
    let expected = [
        "org.create",
        "key.create",
        "key.rotate",
        "channel.create",
        "channel.update",
        "channel.delete",
        "publish",
    ];
    assert_eq!(acts, expected);
    let one = &records[1];
    let who = one.who.as_ref().unwrap();
    assert_eq!((who.org.as_str(), who.key), ("default", None));
    assert_eq!((&*one.from, &*one.target), ("127.0.0.1:50000", "ci"));
    assert_eq!((one.at, &*one.outcome, &one.error), (at, "done", &None));
    assert_eq!(check(&found), Ok(desk.broker.audit_head()));
}

#[test]
fn the_chain_goes_on_over_restarts_and_power_cuts() {
    let mut desk = Desk::new();
    for life in 0..6 {
        make_org(&mut desk, &format!("org-{life}")).unwrap();
        let at = desk.at();
        desk.broker.audit(refusal(None), at).unwrap();
        desk.rounds();
        if life % 3 == 1 {
            desk.settle();
        }
        let loss = [Loss::None, Loss::All][life % 2];
        let (disk, now) = (desk.disk.after(loss), desk.now + 1);
        let head = desk.broker.audit_head();
        desk = Desk::open(&disk, now).unwrap();
        assert_eq!(desk.broker.audit_head(), head);
    }
    let found = audit(&mut desk);
    assert_eq!(found.len(), 12);
    assert_eq!(check(&found), Ok(desk.broker.audit_head()));
    let head = desk.broker.audit_head();
    assert_eq!(head.next, 12);
    assert_eq!(head.hash, AuditHash::of(&found[11].1));
    // A trimmed topic begins with a record that names one that is gone.
    assert_eq!(check(&found[5..]), Ok(head));
}

#[test]
fn a_changed_byte_a_missing_record_and_a_new_order_are_found() {
    let mut desk = Desk::new();
    for n in 0..4 {
        make_org(&mut desk, &format!("org-{n}")).unwrap();
    }
    let found = audit(&mut desk);
    let head = check(&found).unwrap();
    for (record, (_, payload)) in found.iter().enumerate() {
        for at in 0..payload.len() {
            let mut changed = found.clone();
            let mut bytes = payload.to_vec();
            bytes[at] ^= 1;
            changed[record].1 = bytes.into();
            // The last one is told by the head that somebody wrote down.
            assert_ne!(check(&changed), Ok(head), "record {record}, byte {at}");
            if record < 3 {
                assert!(check(&changed).is_err(), "record {record}, byte {at}");
            }
        }
        if record > 0 {
            let mut changed = found.clone();
            changed.remove(record);
            assert_ne!(check(&changed), Ok(head));
            let mut changed = found.clone();
            changed.swap(record - 1, record);
            assert!(check(&changed).is_err());
        }
    }
    // Somebody who writes all of it anew arrives at another head.
    let mut forged = decoded(&found);
    forged[1].target = "another".to_owned();
    let mut payloads: Vec<(Offset, Bytes)> = Vec::new();
    for (at, mut record) in forged.into_iter().enumerate() {
        if let Some((_, before)) = payloads.last() {
            record.previous = AuditHash::of(before);
        }
        payloads.push((Offset(at as u64), record.encode().into()));
    }
    let forged = check(&payloads).unwrap();
    assert_eq!(forged.next, head.next);
    assert_ne!(forged, head);
}

#[test]
fn refusals_are_recorded_up_to_a_bound_and_the_rest_is_counted() {
    let mut desk = Desk::new();
    make_org(&mut desk, "acme").unwrap();
    let at = desk.at();
    let of_acme = Principal {
        org: OrgId(1),
        ..ME
    };
    let mut recorded = 0u32;
    for _ in 0..500 {
        recorded += u32::from(desk.broker.audit(refusal(None), at).is_some());
        desk.rounds();
    }
    assert_eq!(recorded, REFUSALS_AT_ONCE);
    assert!(desk.broker.audit(refusal(Some(of_acme)), at).is_some());
    desk.broker.tick(at);
    let before = audit(&mut desk).len();
    desk.now += 20_000;
    let at = desk.at();
    desk.broker.tick(at);
    desk.broker.tick(at);
    let found = audit(&mut desk);
    assert_eq!(found.len(), before + 1);
    let records = decoded(&found);
    let told = records.last().unwrap();
    assert_eq!(told.act, "audit.suppressed");
    assert_eq!(told.suppressed, u64::from(500 - recorded));
    let acmes = &records[records.len() - 2];
    assert_eq!(acmes.who.as_ref().unwrap().org.as_str(), "acme");
    assert_eq!(acmes.error.as_deref(), Some("PERMISSION_DENIED"));
    assert!(check(&found).is_ok());
}

#[test]
fn long_and_strange_texts_are_bounded_and_read_back() {
    let mut desk = Desk::new();
    let at = desk.at();
    let long = "ä\u{0}\"\n".repeat(1_000);
    let strange = AuditAct {
        from: long.clone(),
        target: long.clone(),
        detail: long.clone(),
        ..refusal(None)
    };
    desk.broker.audit(strange, at).unwrap();
    let found = audit(&mut desk);
    let record = &decoded(&found)[0];
    for (text, most) in [
        (&record.from, 512),
        (&record.target, 512),
        (record.detail.as_ref().unwrap(), 1024),
    ] {
        assert!((most - 5..=most).contains(&text.len()), "{}", text.len());
        assert!(long.starts_with(text.strip_suffix('…').unwrap()));
    }
    let payload = &found[0].1;
    assert!(!payload.contains(&b'\n'), "a record is one line");
    assert!(check(&found).is_ok());
}

#[test]
fn a_crash_at_any_call_leaves_an_act_with_its_record_or_neither() {
    let prepared = CrashingDisk::new();
    drop(Desk::open(&prepared, 1).unwrap());
    let work = |disk: &CrashingDisk| -> usize {
        let Ok(mut desk) = Desk::open(disk, 1_000) else {
            return 0;
        };
        let mut promised = 0;
        for n in 0..3 {
            let Ok(made) = make_org(&mut desk, &format!("org-{n}")) else {
                break;
            };
            desk.rounds();
            promised += usize::from(desk.is_done(made.wait));
        }
        promised
    };
    let whole = prepared.after(Loss::None);
    assert_eq!(work(&whole), 3);
    for at in 0..=whole.calls() {
        let disk = prepared.after(Loss::None);
        disk.crash_during(at);
        let promised = work(&disk);
        for (n, image) in disk.crash_images(at, 6).into_iter().enumerate() {
            let story = format!("crash at {at}, image {n}");
            let mut desk = Desk::open(&image, 2_000).unwrap();
            let found = audit(&mut desk);
            let orgs = desk.broker.access().orgs().count() - 1;
            assert_eq!(found.len(), orgs, "{story}");
            assert!(orgs >= promised, "{story}");
            make_org(&mut desk, "another").unwrap();
            let found = audit(&mut desk);
            assert_eq!(check(&found), Ok(desk.broker.audit_head()), "{story}");
        }
    }
}

#[test]
fn a_damaged_last_record_stops_nobody_and_shows_in_the_chain() {
    let mut desk = Desk::new();
    for n in 0..3 {
        make_org(&mut desk, &format!("org-{n}")).unwrap();
        desk.rounds();
    }
    desk.settle();
    let topic = desk.info("__audit").incarnation;
    let dir = Path::new(ROOT).join("channels").join(topic.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let files = all_files(&desk.disk);
    let bytes = &files.iter().find(|(file, _)| *file == path).unwrap().1;
    let file = desk.disk.open(&path, OpenMode::ReadWrite).unwrap();
    // Within the payload of the last record.
    let at = bytes.len() - 40;
    let changed = [bytes[at] ^ 1];
    file.write_at(at as u64, &[std::io::IoSlice::new(&changed)])
        .unwrap();
    let mut desk = desk.reopened().unwrap();
    assert_eq!(desk.broker.audit_head().hash, AuditHash::NONE);
    let made = make_org(&mut desk, "later").unwrap();
    desk.rounds();
    assert!(desk.is_done(made.wait));
    let name = ChannelName::parse_any("__audit").unwrap();
    let at = Place::Offset(Offset(3));
    let mut fetch = Fetch::new(name, None, at, LogEpoch(0), 1 << 20);
    let FetchStep::Done(fetched) = desk.broker.fetch_step(&mut fetch).unwrap() else {
        panic!("not in memory");
    };
    let batch = &fetched.slices.parts[0];
    let record = records(batch).unwrap().next().unwrap().unwrap();
    let payload = record.payload.unwrap();
    // What is intact before it, then what followed.
    let first = AuditRecord::decode(&payload).unwrap();
    assert_eq!((first.seq, first.previous), (3, AuditHash::NONE));
    let before = act("org.create", "org-2");
    let head = AuditHead {
        next: 2,
        hash: AuditHash::NONE,
    };
    let stood = AuditRecord::new(&before, None, 0, &head, Timestamp(1)).encode();
    let broken = verify([(Offset(2), &stood[..]), (Offset(3), &payload[..])]).unwrap_err();
    assert_eq!(broken.offset, Offset(3));
    assert!(matches!(broken.fault, ChainFault::Previous { .. }));
}

#[test]
fn old_records_go_only_when_the_operator_says_so_and_the_chain_holds() {
    const DAY: i64 = 86_400_000;
    let small = |config: &mut BrokerConfig| config.storage.own_segment_bytes = 8 << 10;
    let mut desk = Desk::open_with(&CrashingDisk::new(), 1_000, small).unwrap();
    assert_eq!(desk.info("__audit").config.retention_days, None);
    make_org(&mut desk, "acme").unwrap();
    let one_day = |config: &mut BrokerConfig| config.audit_retention_days = Some(1);
    desk.settle();
    let disk = desk.disk.clone();
    let now = desk.now + 1;
    drop(desk);
    let mut desk = Desk::open_with(&disk, now, one_day).unwrap();
    assert_eq!(desk.info("__audit").config.retention_days, Some(1));
    for n in 0..60 {
        make_org(&mut desk, &format!("org-{n}")).unwrap();
        desk.now += DAY / 10;
        desk.settle();
        for _ in 0..3 {
            let at = desk.at();
            if let Looked::Unlisted(task) = desk.broker.tick(at) {
                desk.broker.finish_load(task.run()).unwrap();
            }
        }
        desk.settle();
    }
    let found = audit(&mut desk);
    assert!(found[0].0 > Offset(0), "nothing was trimmed");
    let head = desk.broker.audit_head();
    assert_eq!(check(&found), Ok(head));
    assert_eq!(head.next, 61);
    let (disk, now) = (desk.disk.after(Loss::All), desk.now + 1);
    let desk = Desk::open(&disk, now).unwrap();
    assert_eq!(desk.broker.audit_head(), head);
    assert_eq!(desk.info("__audit").config.retention_days, None, "as said");
}
