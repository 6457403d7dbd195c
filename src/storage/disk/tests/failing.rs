use super::*;

fn failing() -> FailingDisk {
    let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
    disk.create_dir(Path::new("journal")).unwrap();
    disk
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().expect("an error").raw_os_error()
}

#[test]
fn the_nth_call_of_a_kind_fails_once_and_does_not_reach_the_disk() {
    let disk = failing();
    let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    write(&*file, 0, b"0");
    disk.plan(Fault::new(Fault::NO_SPACE).on(Operation::Write).nth(3));
    write(&*file, 1, b"1");
    file.sync_data().unwrap();
    write(&*file, 2, b"2");
    assert_eq!(errno(file.write_at(3, &[IoSlice::new(b"3")])), Some(28));
    assert_eq!(file.len().unwrap(), 3);
    write(&*file, 3, b"4");
    assert_eq!(contents(&disk, "a"), b"0124");
    assert_eq!((disk.count(Operation::Write), disk.struck()), (5, 1));
}

#[test]
fn a_lasting_fault_strikes_until_the_disk_is_healed() {
    let disk = failing();
    let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    disk.plan(Fault::new(Fault::IO).on(Operation::Sync).nth(2).and_later());
    disk.set_available(17);
    assert_eq!(disk.available(Path::new("/")).unwrap(), 17);
    file.sync_data().unwrap();
    for _ in 0..3 {
        assert_eq!(errno(file.sync_data()), Some(5));
    }
    write(&*file, 0, b"other calls pass");
    disk.heal();
    file.sync_data().unwrap();
    assert_eq!((disk.count(Operation::Sync), disk.struck()), (5, 3));
    assert_ne!(disk.available(Path::new("/")).unwrap(), 17);
}

#[test]
fn a_fault_can_be_bound_to_a_path_or_to_nothing() {
    let disk = failing();
    let a = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    let journal = disk
        .open(Path::new("journal/0000"), OpenMode::Create)
        .unwrap();
    disk.plan(Fault::new(Fault::IO).at("journal/").and_later());
    write(&*a, 0, b"passes");
    assert_eq!(
        errno(journal.write_at(0, &[IoSlice::new(b"fails")])),
        Some(5)
    );
    assert_eq!(errno(journal.sync_data()), Some(5));
    assert_eq!(
        errno(disk.rename(Path::new("journal/0000"), Path::new("b"))),
        Some(5)
    );
    disk.heal();
    let before = disk.calls();
    disk.plan(Fault::new(Fault::IO).nth(2));
    a.len().unwrap();
    assert_eq!(errno(disk.exists(Path::new("a"))), Some(5));
    a.len().unwrap();
    assert_eq!(disk.calls() - before, 3);
}

#[test]
fn a_struck_write_may_leave_a_prefix() {
    let disk = failing();
    let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    disk.plan(
        Fault::new(Fault::NO_SPACE)
            .on(Operation::Write)
            .after_writing(5),
    );
    let parts = [&b"one"[..], b"two"].map(IoSlice::new);
    assert_eq!(errno(file.write_at(1, &parts)), Some(28));
    assert_eq!(contents(&disk, "a"), b"\0onetw");
    disk.plan(
        Fault::new(Fault::NO_SPACE)
            .on(Operation::Write)
            .after_writing(500),
    );
    assert_eq!(errno(file.write_at(0, &[IoSlice::new(b"all")])), Some(28));
    assert_eq!(contents(&disk, "a"), b"alletw");
}

#[test]
fn every_call_is_counted_and_can_fail() {
    let disk = failing();
    let path = Path::new("a");
    let file = disk.open(path, OpenMode::Create).unwrap();
    type Call<'a> = Box<dyn Fn() -> io::Result<()> + 'a>;
    let io_error = |e| match e {
        LockError::Io(e) => e,
        LockError::Held { .. } => io::Error::other("held"),
    };
    let calls: Vec<(Operation, Call<'_>)> = vec![
        (
            Operation::CreateDir,
            Box::new(|| disk.create_dir(Path::new("dir"))),
        ),
        (
            Operation::List,
            Box::new(|| disk.list(Path::new("/")).map(drop)),
        ),
        (Operation::Exists, Box::new(|| disk.exists(path).map(drop))),
        (
            Operation::Open,
            Box::new(|| disk.open(path, OpenMode::Read).map(drop)),
        ),
        (Operation::Rename, Box::new(|| disk.rename(path, path))),
        (
            Operation::Remove,
            Box::new(|| disk.remove_dir(Path::new("dir"))),
        ),
        (
            Operation::SyncDir,
            Box::new(|| disk.sync_dir(Path::new("/"))),
        ),
        (
            Operation::Lock,
            Box::new(|| disk.lock(path, b"x").map(drop).map_err(io_error)),
        ),
        (
            Operation::Available,
            Box::new(|| disk.available(path).map(drop)),
        ),
        (Operation::Write, Box::new(|| file.write_at(0, &[]))),
        (
            Operation::Read,
            Box::new(|| file.read_at(0, &mut []).map(drop)),
        ),
        (Operation::Sync, Box::new(|| file.sync_data())),
        (Operation::Len, Box::new(|| file.len().map(drop))),
        (Operation::SetLen, Box::new(|| file.set_len(9))),
        (Operation::Map, Box::new(|| file.map(0..1).map(drop))),
        (Operation::Remove, Box::new(|| disk.remove_file(path))),
    ];
    for (operation, call) in &calls {
        let before = disk.count(*operation);
        disk.plan(Fault::new(Fault::IO).on(*operation));
        assert_eq!(errno(call()), Some(5), "{operation:?}");
        call().unwrap_or_else(|e| panic!("{operation:?}: {e}"));
        assert_eq!(disk.count(*operation), before + 2, "{operation:?}");
    }
    assert_eq!(disk.struck(), calls.len() as u64);
}
