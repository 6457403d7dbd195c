//! Damage to what says who may come in: the start is refused, with the file and the place.

use std::io::IoSlice;
use std::path::PathBuf;

use npayload::broker::{SecretFileError, TopicError};
use npayload::format::{BatchHeader, DecodeError, Gap, SecretFile, Stamp};

use super::*;

/// A directory with a key in it, everything in the segments.
fn with_key() -> (CrashingDisk, Incarnation, Secret) {
    let mut desk = Desk::new();
    desk.org("acme");
    let (_, secret) = desk.key(OrgId::DEFAULT);
    desk.settle();
    let topic = desk.topic();
    (desk.disk.clone(), topic, secret)
}

fn write(disk: &CrashingDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, &[IoSlice::new(bytes)]).unwrap();
}

fn read(disk: &CrashingDisk, path: &Path) -> Vec<u8> {
    let mut files = all_files(disk).into_iter();
    files.find(|(found, _)| found == path).unwrap().1
}

fn why(disk: &CrashingDisk) -> BrokerOpenError {
    match Desk::open(disk, 9_000_000) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

fn secret_path() -> PathBuf {
    Path::new(ROOT).join("npayload.secret")
}

#[test]
fn a_missing_or_damaged_secret_file_refuses_the_start_and_says_what_to_restore() {
    let (disk, _, secret) = with_key();
    let path = secret_path();
    let intact = read(&disk, &path);
    let text = |error: &BrokerOpenError| {
        let text = error.to_string();
        assert!(text.contains("npayload.secret"), "{text}");
        assert!(text.contains("restore"), "{text}");
    };

    disk.remove_file(&path).unwrap();
    let error = why(&disk);
    text(&error);
    let BrokerOpenError::Secret(SecretFileError::Missing { path: named }) = error else {
        panic!("{error}");
    };
    assert_eq!(named, path);

    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        write(&disk, &path, &bytes);
        let error = why(&disk);
        text(&error);
        assert!(
            matches!(
                &error,
                BrokerOpenError::Secret(SecretFileError::Unreadable { .. })
            ),
            "byte {at}: {error}"
        );
    }
    let longer = [&intact[..], b"\0"].concat();
    let other_start: Vec<&[u8]> = vec![b"", &intact[..63], &longer, &[0; 64]];
    for bytes in other_start {
        write(&disk, &path, bytes);
        assert!(matches!(
            why(&disk),
            BrokerOpenError::Secret(SecretFileError::Unreadable { .. })
        ));
    }

    let mut newer = intact.clone();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[8..]);
    newer[4..8].copy_from_slice(&crc.to_le_bytes());
    write(&disk, &path, &newer);
    assert!(matches!(
        why(&disk),
        BrokerOpenError::Secret(SecretFileError::Unreadable {
            source: DecodeError::UnsupportedVersion { found: 2, .. },
            ..
        })
    ));

    let mut strange = SecretFile::decode(&intact).unwrap();
    strange.directory_id.0 += 1;
    write(&disk, &path, &*strange.encode());
    let error = why(&disk);
    text(&error);
    assert!(matches!(
        error,
        BrokerOpenError::Secret(SecretFileError::Misplaced { found, .. })
            if found == strange.directory_id
    ));

    write(&disk, &path, &intact);
    let desk = Desk::open(&disk, 9_000_000).unwrap();
    assert!(desk.broker.authenticate(&secret, desk.at()).is_ok());
}

/// The segment of the topic, and where its batches are.
fn batches(disk: &CrashingDisk, topic: Incarnation) -> (PathBuf, Vec<(usize, BatchHeader)>) {
    let dir = Path::new(ROOT).join("channels").join(topic.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let bytes = read(disk, &path);
    let mut found = Vec::new();
    let mut at = 4096;
    while at < bytes.len() {
        match BatchHeader::peek(&bytes[at..]) {
            Ok(header) => {
                found.push((at, header));
                at += header.len();
            }
            Err(_) => at = (at + 1).next_multiple_of(4096),
        }
    }
    (path, found)
}

#[test]
fn damage_or_a_gap_in_the_topic_refuses_the_start_and_names_the_place() {
    let (disk, topic, secret) = with_key();
    let (path, found) = batches(&disk, topic);
    assert_eq!(found.len(), 2);
    let intact = read(&disk, &path);
    for (at, header) in &found {
        let mut bytes = intact.clone();
        bytes[at + header.len() - 1] ^= 1;
        write(&disk, &path, &bytes);
        let error = why(&disk);
        let text = error.to_string();
        assert!(text.contains("__access"), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains(&at.to_string()), "{text}");
        assert!(matches!(
            error,
            BrokerOpenError::Topic(TopicError::Read { .. })
        ));
    }

    let (at, header) = found[0];
    let stamp = Stamp {
        incarnation: topic,
        base_offset: header.base_offset(),
        append_time: header.append_time(),
        log_epoch: header.log_epoch(),
        principal: 0,
    };
    let mut bytes = intact.clone();
    let span = u32::try_from(header.end_offset().0 - header.base_offset().0).unwrap();
    let gap = Gap::default().encode(&stamp, span, header.len());
    bytes[at..at + header.len()].copy_from_slice(&gap);
    write(&disk, &path, &bytes);
    let error = why(&disk);
    assert!(matches!(
        &error,
        BrokerOpenError::Topic(TopicError::Lost { topic: "__access", lost })
            if *lost == (header.base_offset()..header.end_offset())
    ));
    assert!(error.to_string().contains("backup"), "{error}");

    let mut bytes = intact.clone();
    bytes[4096..].fill(0);
    write(&disk, &path, &bytes);
    let text = why(&disk).to_string();
    assert!(text.contains("__access"), "{text}");

    write(&disk, &path, &intact);
    let desk = Desk::open(&disk, 9_000_000).unwrap();
    assert!(desk.broker.authenticate(&secret, desk.at()).is_ok());
}
