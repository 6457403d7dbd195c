//! `npayload.secret`: made before the first key, and never lost by a crash that keeps one.

use npayload::access::NotAuthentic;
use npayload::broker::SecretError;
use npayload::format::SecretFile;
use npayload::storage::disk::{FailingDisk, Fault, Loss, Operation};

use super::*;

fn secret_path() -> std::path::PathBuf {
    Path::new(ROOT).join("npayload.secret")
}

fn new_path() -> std::path::PathBuf {
    Path::new(ROOT).join("npayload.secret.new")
}

#[test]
fn the_file_is_made_with_the_first_key_and_serves_all() {
    let mut desk = Desk::new();
    assert!(!desk.disk.exists(&secret_path()).unwrap());
    assert!(matches!(
        refused(desk.try_key(&ME, OrgId::DEFAULT)).error,
        BrokerError::NoSecret
    ));
    assert!(!desk.broker.access().has_keys());
    // Whoever asks at the same time waits for the same file.
    let [one, two] = [(); 2].map(|()| desk.broker.plan_secret().unwrap());
    assert_eq!(
        format!("{one:?}"),
        format!("SecretJob {{ path: {:?}, .. }}", secret_path())
    );
    let ends = [two, one].map(npayload::broker::SecretJob::run);
    let read = |desk: &Desk| {
        let files = all_files(&desk.disk);
        let file = files.into_iter().find(|(path, _)| *path == secret_path());
        SecretFile::decode(&file.unwrap().1).unwrap()
    };
    let made = read(&desk);
    assert_eq!(made.directory_id, desk.info("__channels").incarnation);
    assert!(made.secret.iter().any(|byte| *byte != 0));
    let mut shown = Vec::new();
    for end in ends {
        desk.broker.finish_secret(end).unwrap();
        shown.push(desk.key(OrgId::DEFAULT));
    }
    assert!(desk.broker.plan_secret().is_none());
    let desk = desk.reopened().unwrap();
    for (key, secret) in &shown {
        let principal = desk.broker.authenticate(secret, desk.at()).unwrap();
        assert_eq!(principal.key, Some(key.key));
    }
    assert_eq!(read(&desk), made);
    assert!(!desk.disk.exists(&new_path()).unwrap());
}

#[test]
fn a_making_that_failed_leaves_no_key_and_is_tried_again() {
    let faults = [
        Fault::new(Fault::NO_SPACE).on(Operation::Open),
        Fault::new(Fault::NO_SPACE).on(Operation::Write),
        Fault::new(Fault::IO).on(Operation::Sync),
        Fault::new(Fault::IO).on(Operation::Rename),
        Fault::new(Fault::IO).on(Operation::SyncDir),
    ];
    for fault in faults {
        let below = CrashingDisk::new();
        let disk = FailingDisk::new(Arc::new(below.clone()));
        let config = BrokerConfig {
            storage: small(),
            ..BrokerConfig::default()
        };
        let mut seed = 7;
        let random = move || {
            seed += 1;
            seed
        };
        let broker = Broker::open(
            Arc::new(disk.clone()),
            Path::new(ROOT),
            config,
            "a test",
            Timestamp(1),
            Box::new(random),
        );
        let mut desk = Desk {
            broker: broker.unwrap(),
            disk: below,
            now: 1,
        };
        desk.rounds();
        let story = format!("{fault:?}");
        disk.plan(fault);
        let jobs = [(); 2].map(|()| desk.broker.plan_secret().unwrap());
        let ends = jobs.map(npayload::broker::SecretJob::run);
        for end in ends {
            let ended: Result<(), SecretError> = desk.broker.finish_secret(end);
            ended.expect_err(&story);
        }
        assert!(matches!(
            refused(desk.try_key(&ME, OrgId::DEFAULT)).error,
            BrokerError::NoSecret
        ));
        let (key, secret) = desk.key(OrgId::DEFAULT);
        let (after, now) = (desk.disk.after(Loss::All), desk.now + 1);
        let desk = Desk::open(&after, now).unwrap();
        let shown = desk.broker.authenticate(&secret, desk.at());
        assert_eq!(shown.unwrap().key, Some(key.key), "{story}");
        assert!(!after.exists(&new_path()).unwrap(), "{story}");
    }
}

/// Makes the file and the first key; what was promised, if the disk came so far.
fn first_key(disk: &CrashingDisk) -> Option<(Key, Secret)> {
    let mut desk = Desk::open(disk, 1_000).ok()?;
    let job = desk.broker.plan_secret()?;
    desk.broker.finish_secret(job.run()).ok()?;
    let made = desk.try_key(&ME, OrgId::DEFAULT).ok()?;
    desk.rounds();
    desk.is_done(made.wait).then_some(made.value)
}

#[test]
fn a_crash_at_any_call_leaves_no_key_or_one_that_opens() {
    let prepared = CrashingDisk::new();
    drop(Desk::open(&prepared, 1).unwrap());
    let from = |loss| prepared.after(loss);
    let whole = from(Loss::None);
    assert!(first_key(&whole).is_some());
    let calls = whole.calls();
    assert!(calls > 10, "{calls}");
    let mut kept = 0;
    for at in 0..=calls {
        for is_torn in [false, true] {
            let disk = from(Loss::None);
            match is_torn {
                true => disk.crash_during(at),
                false => disk.crash_after(at),
            }
            let promised = first_key(&disk);
            for (n, image) in disk.crash_images(at, 6).into_iter().enumerate() {
                let story = format!("crash at {at}, torn {is_torn}, image {n}");
                let opened = Desk::open(&image, 2_000);
                let mut desk = opened.unwrap_or_else(|error| panic!("{story}: {error}"));
                if let Some((key, secret)) = &promised {
                    let shown = desk.broker.authenticate(secret, desk.at());
                    assert_eq!(shown.unwrap().key, Some(key.key), "{story}");
                    kept += 1;
                }
                // Whatever is there serves for another key, which lasts.
                let (_, secret) = desk.key(OrgId::DEFAULT);
                let desk = Desk::open(&desk.disk.after(Loss::All), 3_000).unwrap();
                assert!(desk.broker.authenticate(&secret, desk.at()).is_ok());
                assert!(!desk.disk.exists(&new_path()).unwrap(), "{story}");
            }
        }
    }
    assert!(kept > 0);
}

#[test]
fn without_keys_nobody_is_known_and_no_file_is_needed() {
    let desk = Desk::new().reopened().unwrap();
    let secret = Secret::new(KeyKind::Live, &[3; 32]);
    let shown = desk.broker.authenticate(&secret, desk.at());
    assert_eq!(shown, Err(NotAuthentic::Unknown));
    assert!(!desk.disk.exists(&secret_path()).unwrap());
}
