mod crashing;
mod failing;

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::real::write_all;
use super::*;

/// Every kind of disk, each with an empty directory to work in.
fn every_disk() -> Vec<(Arc<dyn Disk>, PathBuf, Option<tempfile::TempDir>)> {
    let temp = tempfile::tempdir().unwrap();
    let real = temp.path().join("data");
    RealDisk.create_dir(&real).unwrap();
    let mut disks: Vec<(Arc<dyn Disk>, _, _)> = vec![(Arc::new(RealDisk), real, Some(temp))];
    let in_memory: Vec<Arc<dyn Disk>> = vec![
        Arc::new(MemoryDisk::new()),
        Arc::new(FailingDisk::new(Arc::new(MemoryDisk::new()))),
        Arc::new(CrashingDisk::new()),
    ];
    for disk in in_memory {
        disk.create_dir(Path::new("/data")).unwrap();
        disks.push((disk, "/data".into(), None));
    }
    disks
}

fn write(file: &dyn DiskFile, position: u64, bytes: &[u8]) {
    file.write_at(position, &[IoSlice::new(bytes)]).unwrap();
}

fn contents(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(&*file, 0, &mut bytes).unwrap();
    bytes
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

#[test]
fn what_is_not_kept_in_memory_is_written_all_the_same() {
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        let parts = [&b"one"[..], b"", b"two", b"three"];
        file.write_uncached(5, &parts.map(IoSlice::new)).unwrap();
        // The second goes over a part of the first, and over its end.
        file.write_uncached(14, &[IoSlice::new(b"EEs")]).unwrap();
        file.sync_data().unwrap();
        let mut buf = [9; 20];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 17, "{disk:?}");
        assert_eq!(&buf[..17], b"\0\0\0\0\0onetwothrEEs");
    }
}

#[test]
fn blocks_written_past_memory_and_through_it_lie_side_by_side() {
    const BLOCK: usize = 4096;
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        zero_fill(&*file, 64 * BLOCK as u64).unwrap();
        let mut wanted = vec![0; 64 * BLOCK];
        // Twice over all of it, each block the other way the second time, in pieces of one to three.
        for pass in 0..2 {
            let (mut block, mut piece) = (0, 0_u8);
            while block < 64 {
                let count = (1 + usize::from(piece) % 3).min(64 - block);
                let (from, to) = (block * BLOCK, (block + count) * BLOCK);
                wanted[from..to].fill(100 * pass + piece);
                let parts = [IoSlice::new(&wanted[from..to])];
                match (piece + pass) % 2 {
                    0 => file.write_blocks(from as u64, &parts).unwrap(),
                    _ => file.write_at(from as u64, &parts).unwrap(),
                }
                if piece % 5 == 0 {
                    file.uncache(0..to as u64);
                }
                (block, piece) = (block + count, piece + 1);
            }
            let mut found = vec![1; 64 * BLOCK];
            read_exact_at(&*file, 0, &mut found).unwrap();
            assert!(found == wanted, "{disk:?}, pass {pass}");
        }
        file.sync_data().unwrap();
    }
}

#[test]
fn what_a_file_does_not_have_is_not_in_memory() {
    const BYTES: u64 = 300 * 1024;
    let bytes = vec![7; usize::try_from(BYTES).unwrap()];
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        zero_fill(&*file, BYTES).unwrap();
        read_exact_at(&*file, 0, &mut bytes.clone()).unwrap();
        assert!(!file.is_warm(0..BYTES + 1), "{disk:?}");
        assert!(!file.is_warm(BYTES..2 * BYTES), "{disk:?}");
        // Nobody waits for what comes from there.
        file.warm(0..BYTES);
        file.warm(0..2 * BYTES);
    }
    let temp = tempfile::tempdir().unwrap();
    let file = RealDisk.open(&temp.path().join("a"), OpenMode::Create);
    let file = file.unwrap();
    write(&*file, 0, &bytes);
    #[cfg(target_os = "linux")]
    assert!(file.is_warm(0..BYTES), "it was written right now");
}

#[test]
fn tasks_side_by_side_are_each_done_once_before_it_returns() {
    for (disk, _, _temp) in every_disk() {
        for (count, at_once) in [(0, 4), (1, 4), (7, 1), (7, 4), (1_000, 8)] {
            let done: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            disk.side_by_side(Tasks { count, at_once }, &|n| {
                done[n].fetch_add(1, Ordering::Relaxed);
            });
            let mut counts = done.iter().map(|one| one.load(Ordering::Relaxed));
            assert!(counts.all(|count| count == 1), "{disk:?}");
        }
    }
}

#[test]
fn bytes_written_are_bytes_read_on_every_disk() {
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        assert!(file.is_empty().unwrap(), "{disk:?}");
        let parts = [&b"one"[..], b"", b"two", b"three"];
        file.write_at(5, &parts.map(IoSlice::new)).unwrap();
        let mut buf = [9; 20];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 16);
        assert_eq!(&buf[..16], b"\0\0\0\0\0onetwothree");
        assert_eq!(buf[16..], [9; 4]);
        assert_eq!(file.read_at(16, &mut buf).unwrap(), 0);
        assert_eq!(file.read_at(1 << 40, &mut buf).unwrap(), 0);
        assert_eq!(
            kind(read_exact_at(&*file, 14, &mut buf[..3])),
            ErrorKind::UnexpectedEof
        );
        read_exact_at(&*file, 13, &mut buf[..3]).unwrap();
        assert_eq!(&buf[..3], b"ree");
        file.set_len(6).unwrap();
        file.set_len(8).unwrap();
        file.write_at(100, &[IoSlice::new(b"")]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 8);
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0\0\0o\0\0");
    }
}

#[test]
fn more_slices_than_one_call_takes_are_all_written() {
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..5000u32).map(|n| n.to_le_bytes()[0]).collect();
        let parts: Vec<_> = bytes
            .chunks(2)
            .flat_map(|c| [IoSlice::new(c), IoSlice::new(b"")])
            .collect();
        file.write_at(3, &parts).unwrap();
        let mut read = vec![0; 5000];
        read_exact_at(&*file, 3, &mut read).unwrap();
        assert_eq!(read, bytes, "{disk:?}");
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let parts = [&b"abc"[..], b"", b"defgh", b"i"].map(IoSlice::new);
    let (mut written, mut calls) = (Vec::new(), 0);
    write_all(7, &parts, |position, parts| {
        calls += 1;
        if calls % 2 == 1 {
            return Err(ErrorKind::Interrupted.into());
        }
        assert_eq!(position, 7 + written.len() as u64);
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|p| p.iter().copied())
            .take(2)
            .collect();
        written.extend_from_slice(&bytes);
        Ok(bytes.len())
    })
    .unwrap();
    assert_eq!((written.as_slice(), calls), (&b"abcdefghi"[..], 10));
    assert_eq!(
        kind(write_all(0, &parts, |_, _| Ok(0))),
        ErrorKind::WriteZero
    );
    let refused = write_all(0, &parts, |_, _| Err(io::Error::from_raw_os_error(28)));
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(28));
    write_all(0, &[IoSlice::new(b"")], |_, _| panic!("nothing to write")).unwrap();
    let many = vec![IoSlice::new(b"x"); 2500];
    let mut sizes = Vec::new();
    write_all(0, &many, |_, parts| {
        sizes.push(parts.len());
        Ok(parts.len())
    })
    .unwrap();
    assert_eq!(sizes, [1024, 1024, 452]);
}

#[test]
fn open_modes_agree_on_every_disk() {
    for (disk, dir, _temp) in every_disk() {
        let path = dir.join("a");
        assert_eq!(kind(disk.open(&path, OpenMode::Read)), ErrorKind::NotFound);
        assert_eq!(
            kind(disk.open(&path, OpenMode::ReadWrite)),
            ErrorKind::NotFound
        );
        let absent = dir.join("absent").join("a");
        assert_eq!(
            kind(disk.open(&absent, OpenMode::Create)),
            ErrorKind::NotFound,
            "{disk:?}"
        );
        assert!(!disk.exists(&absent).unwrap());
        write(&*disk.open(&path, OpenMode::CreateNew).unwrap(), 0, b"kept");
        assert_eq!(
            kind(disk.open(&path, OpenMode::CreateNew)),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            disk.open(&path, OpenMode::Create).unwrap().len().unwrap(),
            4
        );
        write(&*disk.open(&path, OpenMode::ReadWrite).unwrap(), 4, b"!");
        let reader = disk.open(&path, OpenMode::Read).unwrap();
        assert_eq!(reader.len().unwrap(), 5);
        assert!(
            reader.write_at(0, &[IoSlice::new(b"no")]).is_err(),
            "{disk:?}"
        );
        assert!(reader.set_len(0).is_err(), "{disk:?}");
        assert_eq!(reader.len().unwrap(), 5);
        assert!(
            disk.open(&path.join("under a file"), OpenMode::Create)
                .is_err()
        );
    }
}

#[test]
fn names_behave_alike_on_every_disk() {
    for (disk, dir, _temp) in every_disk() {
        let sub = dir.join("sub");
        disk.create_dir(&sub).unwrap();
        disk.create_dir(&sub).unwrap();
        assert_eq!(
            kind(disk.create_dir(&dir.join("no/such"))),
            ErrorKind::NotFound
        );
        for (name, bytes) in [("b", "22"), ("a", "1"), ("c", "333")] {
            write(
                &*disk.open(&dir.join(name), OpenMode::Create).unwrap(),
                0,
                bytes.as_bytes(),
            );
        }
        assert_eq!(
            kind(disk.create_dir(&dir.join("a"))),
            ErrorKind::AlreadyExists,
            "{disk:?}"
        );
        let entry = |name: &str, is_dir, len| DirEntry {
            name: name.into(),
            is_dir,
            len,
        };
        let listed = disk.list(&dir).unwrap();
        let expected = [
            entry("a", false, 1),
            entry("b", false, 2),
            entry("c", false, 3),
            entry("sub", true, 0),
        ];
        assert_eq!(listed, expected, "{disk:?}");
        assert_eq!(kind(disk.list(&dir.join("absent"))), ErrorKind::NotFound);

        let held = disk.open(&dir.join("b"), OpenMode::Read).unwrap();
        disk.rename(&dir.join("a"), &dir.join("b")).unwrap();
        assert_eq!(
            held.len().unwrap(),
            2,
            "a handle follows its file, not the name"
        );
        disk.rename(&dir.join("b"), &sub.join("moved")).unwrap();
        assert_eq!(disk.list(&sub).unwrap(), [entry("moved", false, 1)]);
        assert_eq!(
            kind(disk.rename(&dir.join("b"), &dir.join("a"))),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(disk.remove_dir(&sub)),
            ErrorKind::DirectoryNotEmpty,
            "{disk:?}"
        );
        disk.rename(&sub, &dir.join("renamed")).unwrap();
        assert!(disk.exists(&dir.join("renamed/moved")).unwrap());
        disk.rename(&dir.join("c"), &dir.join("c")).unwrap();
        disk.rename(&dir.join("renamed"), &dir.join("renamed"))
            .unwrap();
        assert!(disk.exists(&dir.join("c")).unwrap());

        let removed = disk.open(&dir.join("c"), OpenMode::ReadWrite).unwrap();
        disk.remove_file(&dir.join("c")).unwrap();
        write(&*removed, 3, b"4");
        assert_eq!(removed.len().unwrap(), 4);
        assert!(!disk.exists(&dir.join("c")).unwrap());
        assert_eq!(kind(disk.remove_file(&dir.join("c"))), ErrorKind::NotFound);
        disk.remove_file(&dir.join("renamed/moved")).unwrap();
        disk.remove_dir(&dir.join("renamed")).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(
            kind(disk.sync_dir(&dir.join("renamed"))),
            ErrorKind::NotFound
        );
        assert_eq!(disk.list(&dir).unwrap(), []);
        assert!(disk.available(&dir).unwrap() > 0);
    }
}

#[test]
fn a_lock_has_one_holder_whose_text_the_loser_sees() {
    for (disk, dir, _temp) in every_disk() {
        let path = dir.join("lock");
        let lock = disk.lock(&path, b"pid 1234567\n").unwrap();
        for _ in 0..2 {
            let LockError::Held { holder } = disk.lock(&path, b"intruder").unwrap_err() else {
                panic!("{disk:?}");
            };
            assert_eq!(holder, "pid 1234567");
        }
        drop(lock);
        let _lock = disk.lock(&path, b"pid 8").unwrap();
        let refused = disk.lock(&path, b"").unwrap_err();
        assert_eq!(refused.to_string(), "held by pid 8", "{disk:?}");
        assert!(matches!(
            disk.lock(&dir.join("no/lock"), b""),
            Err(LockError::Io(_))
        ));
    }
}

#[test]
fn a_map_shows_the_range_and_outlives_file_and_name() {
    for (disk, dir, _temp) in every_disk() {
        let path = dir.join("a");
        let file = disk.open(&path, OpenMode::Create).unwrap();
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n / 7).to_le_bytes()[0]).collect();
        write(&*file, 0, &bytes);
        let map = file.map(5001..19_999).unwrap();
        assert_eq!(map, bytes[5001..19_999], "{disk:?}");
        assert_eq!(file.map(0..20_000).unwrap(), bytes);
        assert!(file.map(20_000..20_000).unwrap().is_empty());
        #[expect(clippy::reversed_empty_ranges, reason = "what is refused")]
        for range in [0..20_001, 20_001..20_001, 7..6, u64::MAX - 1..u64::MAX] {
            assert_eq!(kind(file.map(range)), ErrorKind::InvalidInput, "{disk:?}");
        }
        disk.remove_file(&path).unwrap();
        drop(file);
        let slice = map.slice(100..200);
        drop(map);
        assert_eq!(slice, bytes[5101..5201]);
    }
}

#[test]
fn zero_fill_writes_exactly_the_length() {
    for (disk, dir, _temp) in every_disk() {
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        let len = 2 * 1024 * 1024 + 77;
        write(&*file, len - 1, b"\x01\x02");
        zero_fill(&*file, len).unwrap();
        assert_eq!(file.len().unwrap(), len + 1);
        let read = file.map(0..len + 1).unwrap();
        assert!(read[..read.len() - 1].iter().all(|b| *b == 0) && read.ends_with(b"\x02"));
        let fresh = disk.open(&dir.join("b"), OpenMode::Create).unwrap();
        zero_fill(&*fresh, 4096).unwrap();
        assert_eq!(fresh.len().unwrap(), 4096, "{disk:?}");
    }
}

#[test]
fn real_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let mode = |name: &str| {
        temp.path()
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    RealDisk.create_dir(&temp.path().join("dir")).unwrap();
    RealDisk
        .open(&temp.path().join("file"), OpenMode::Create)
        .unwrap();
    RealDisk
        .open(&temp.path().join("new"), OpenMode::CreateNew)
        .unwrap();
    RealDisk.lock(&temp.path().join("lock"), b"").unwrap();
    assert_eq!(
        (mode("dir"), mode("file"), mode("new"), mode("lock")),
        (0o700, 0o600, 0o600, 0o600)
    );
}

#[test]
fn a_memory_disk_refuses_what_it_cannot_hold() {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    assert_eq!(
        kind(file.write_at(u64::MAX, &[IoSlice::new(b"x")])),
        ErrorKind::FileTooLarge
    );
    assert_eq!(kind(file.set_len(u64::MAX)), ErrorKind::FileTooLarge);
    assert_eq!(
        kind(disk.open(Path::new("../a"), OpenMode::Read)),
        ErrorKind::InvalidInput
    );
    let shared = disk.clone();
    write(&*file, 0, b"seen by both");
    assert_eq!(contents(&shared, "/a"), b"seen by both");
}
