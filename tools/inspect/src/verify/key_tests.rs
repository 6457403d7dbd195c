//! The secret file and the topic of keys: checked, named where one is missing, left alone by a repair, shown to nobody.

use std::fs;
use std::path::{Path, PathBuf};

use npayload::access::{KeyKind, KeyRequest, Limits, Principal, Scope};
use npayload::format::SecretFile;
use npayload::types::{ChannelName, OrgId};

use super::broker_tests::{Driver, clean, copy};
use crate::dump::{self, DumpArgs};
use crate::layout::SECRET;
use crate::report::Kind;
use crate::verify;

pub(crate) fn make_key(driver: &mut Driver) {
    if let Some(job) = driver.broker.plan_secret() {
        driver.broker.finish_secret(job.run()).unwrap();
    }
    let request = KeyRequest {
        org: OrgId::DEFAULT,
        name: "a key".to_owned(),
        kind: KeyKind::Live,
        scopes: vec![Scope::all()],
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    };
    let made = driver
        .broker
        .create_key(&Principal::LOCAL, request, driver.now);
    made.unwrap();
    driver.rounds();
}

/// The segment of the topic of keys.
pub(crate) fn topic(driver: &Driver, root: &Path) -> PathBuf {
    let name = ChannelName::parse_any("__access").unwrap();
    let id = driver.broker.channel_info(&name).unwrap().value.incarnation;
    let dir = root.join("channels").join(id.to_string());
    dir.join(format!("{:020}.log", 0))
}

/// Directories with a key: of a broker that stopped, and of one that was killed with the key in the journal alone.
fn patients() -> [tempfile::TempDir; 2] {
    let stopped = tempfile::tempdir().unwrap();
    let mut driver = Driver::open(stopped.path(), 7);
    driver.create_channels();
    driver.publish("a");
    make_key(&mut driver);
    let killed = tempfile::tempdir().unwrap();
    copy(stopped.path(), killed.path());
    assert!(!topic(&driver, killed.path()).exists());
    let segment = topic(&driver, stopped.path());
    driver.stop();
    assert!(segment.exists());
    [stopped, killed]
}

#[test]
fn a_secret_file_is_checked_to_its_end_and_missed_where_there_are_keys() {
    for directory in patients() {
        let root = directory.path();
        let report = clean(root, "with a key");
        let is_it = |file: &&crate::report::FileReport| file.kind == Kind::Secret;
        let found = report.files.iter().find(is_it).unwrap();
        assert_eq!(found.used_ranges, [[0, 64]]);
        let path = root.join(SECRET);
        let intact = fs::read(&path).unwrap();
        let damage = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            for whole in [root, &path] {
                let report = verify::run(whole).unwrap();
                assert!(!report.clean, "{}", whole.display());
                let hurt: Vec<_> = report
                    .files
                    .iter()
                    .filter(|file| !file.damage.is_empty())
                    .collect();
                assert_eq!(hurt.len(), 1);
                assert_eq!(hurt[0].path, path);
            }
        };
        for at in 0..intact.len() {
            let mut bytes = intact.clone();
            bytes[at] ^= 4;
            damage(&bytes);
        }
        damage(&intact[..63]);
        damage(&[&intact[..], b"x"].concat());
        damage(b"");
        let mut strange = SecretFile::decode(&intact).unwrap();
        strange.directory_id.0 ^= 1;
        damage(&*strange.encode());
        fs::remove_file(&path).unwrap();
        let report = verify::run(root).unwrap();
        let missed = report.files.iter().find(is_it).unwrap();
        assert_eq!(missed.damage[0].what, "the file is missing");
        fs::write(&path, &intact).unwrap();
        clean(root, "as it was");
    }
    let without = tempfile::tempdir().unwrap();
    let mut driver = Driver::open(without.path(), 8);
    driver.create_channels();
    driver.stop();
    let report = clean(without.path(), "without keys");
    assert!(report.files.iter().all(|file| file.kind != Kind::Secret));
}

#[test]
fn nothing_of_the_secret_is_shown() {
    let [directory, _] = patients();
    let bytes = fs::read(directory.path().join(SECRET)).unwrap();
    let file = SecretFile::decode(&bytes).unwrap();
    let hex: String = file
        .secret
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for json in [true, false] {
        let args = DumpArgs {
            path: directory.path().to_owned(),
            records: true,
            json,
            offset: None,
            max: None,
            master_key_file: None,
            master_key_command: None,
        };
        let mut out = Vec::new();
        dump::run(&args, &mut out).unwrap();
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("secret"), "{text}");
        assert!(text.contains(&file.directory_id.to_string()));
        assert!(!text.contains(&hex) && !text.contains(&hex[..16]));
        let numbers = format!("{:?}", &file.secret[..8]);
        assert!(!text.contains(numbers.trim_matches(['[', ']'])));
    }
}
