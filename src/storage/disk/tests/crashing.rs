use std::collections::BTreeSet;

use super::*;

/// A disk with a synced file `a` of these bytes.
fn disk_with(bytes: &[u8]) -> (CrashingDisk, Arc<dyn DiskFile>) {
    let disk = CrashingDisk::new();
    let file = disk.open(Path::new("a"), OpenMode::CreateNew).unwrap();
    write(&*file, 0, bytes);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.unsynced(), 0);
    (disk, file)
}

fn random_images(disk: &CrashingDisk, seeds: u64) -> BTreeSet<Vec<u8>> {
    (0..seeds)
        .map(|seed| contents(&disk.after(Loss::Random(seed)), "a"))
        .collect()
}

fn names(disk: &CrashingDisk) -> Vec<String> {
    disk.list(Path::new("/"))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

const EVERY_LOSS: [Loss; 7] = [
    Loss::All,
    Loss::None,
    Loss::Prefix(0),
    Loss::Prefix(1),
    Loss::Random(0),
    Loss::Random(1),
    Loss::RandomPages(0),
];

#[test]
fn what_is_synced_survives_every_crash() {
    let (disk, file) = disk_with(&[1; 2000]);
    write(&*file, 700, &[2; 600]);
    file.set_len(1500).unwrap();
    file.sync_data().unwrap();
    let expected = [&[1; 700][..], &[2; 600], &[1; 200]].concat();
    for loss in EVERY_LOSS {
        let after = disk.after(loss);
        assert_eq!(contents(&after, "a"), expected, "{loss:?}");
        let again = after.after(Loss::All);
        assert_eq!(contents(&again, "a"), expected, "{loss:?}, then power loss");
    }
    assert_eq!(disk.crash_images(7, 12).len(), 12);
    assert!(
        disk.crash_images(7, 12)
            .iter()
            .all(|image| contents(image, "a") == expected)
    );
}

#[test]
fn what_is_not_synced_is_lost_or_kept_as_the_crash_says() {
    let (disk, file) = disk_with(&[1; 1024]);
    write(&*file, 512, &[2; 1024]);
    assert_eq!(contents(&disk.after(Loss::All), "a"), [1; 1024]);
    let dead = disk.after(Loss::None);
    assert_eq!(contents(&dead, "a"), [&[1; 512][..], &[2; 1024]].concat());
    assert_eq!(dead.unsynced(), 1, "a killed process does not sync");
    assert_eq!(contents(&dead.after(Loss::All), "a"), [1; 1024]);
    assert_eq!(
        contents(&disk, "a").len(),
        1536,
        "the crash leaves the disk it is taken of"
    );
    let lost = disk.after(Loss::All);
    write(&*file, 0, b"an old process");
    assert_eq!(contents(&lost, "a"), [1; 1024]);
}

#[test]
fn a_failed_sync_loses_what_no_later_sync_brings_back() {
    let (disk, file) = disk_with(&[1; 1024]);
    write(&*file, 0, &[2; 512]);
    write(&*file, 512, &[3; 512]);
    let outcomes: BTreeSet<Vec<u8>> = (0..20)
        .map(|seed| {
            let disk = disk.after(Loss::None);
            let file = disk.open(Path::new("a"), OpenMode::ReadWrite).unwrap();
            disk.fail_next_sync(seed);
            let failed = file.sync_data().unwrap_err();
            assert_eq!(failed.raw_os_error(), Some(Fault::IO));
            file.sync_data().unwrap();
            let live = [[2; 512], [3; 512]].concat();
            assert_eq!(contents(&disk, "a"), live, "still in the page cache");
            assert_eq!(contents(&disk.after(Loss::None), "a"), live);
            contents(&disk.after(Loss::All), "a")
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "each write is lost or kept by itself");
}

#[test]
fn pages_are_torn_at_their_own_bounds_only() {
    let (disk, file) = disk_with(&[1; 3 * PAGE_BYTES]);
    write(&*file, 0, &[2; 3 * PAGE_BYTES]);
    for seed in 0..50 {
        let image = contents(&disk.after(Loss::RandomPages(seed)), "a");
        for page in image.chunks(PAGE_BYTES) {
            assert!(page.iter().all(|byte| *byte == page[0]), "seed {seed}");
        }
    }
}

#[test]
fn a_sync_of_data_keeps_no_name_and_a_sync_of_names_keeps_no_data() {
    let disk = CrashingDisk::new();
    let a = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    write(&*a, 0, b"data");
    a.sync_data().unwrap();
    let b = disk.open(Path::new("b"), OpenMode::Create).unwrap();
    assert_eq!(names(&disk.after(Loss::All)), [""; 0]);
    disk.sync_dir(Path::new("/")).unwrap();
    write(&*b, 0, b"data");
    let after = disk.after(Loss::All);
    assert_eq!(names(&after), ["a", "b"]);
    assert_eq!(
        (contents(&after, "a"), contents(&after, "b")),
        (b"data".to_vec(), Vec::new())
    );
}

#[test]
fn a_directory_that_is_not_synced_takes_all_below_with_it() {
    let disk = CrashingDisk::new();
    disk.create_dir(Path::new("dir")).unwrap();
    let file = disk.open(Path::new("dir/a"), OpenMode::Create).unwrap();
    write(&*file, 0, b"data");
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("dir")).unwrap();
    assert_eq!(names(&disk.after(Loss::All)), [""; 0]);
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(contents(&disk.after(Loss::All), "dir/a"), b"data");
}

#[test]
fn chance_keeps_each_sector_in_any_state_it_went_through() {
    let (disk, file) = disk_with(&[0; 1024]);
    write(&*file, 0, &[1; 1024]);
    write(&*file, 0, &[2; 1024]);
    let expected: BTreeSet<Vec<u8>> = (0..9u8)
        .map(|n| [[n / 3; 512], [n % 3; 512]].concat())
        .collect();
    assert_eq!(random_images(&disk, 300), expected);
}

#[test]
fn chance_grows_a_file_without_its_data_and_by_sectors() {
    let (disk, file) = disk_with(&[1; 100]);
    write(&*file, 100, &[2; 1000]);
    let images = random_images(&disk, 2000);
    let lengths: BTreeSet<usize> = images.iter().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([100, 512, 1024, 1100]));
    assert!(images.iter().all(|image| image.starts_with(&[1; 100])));
    // Of 1100 bytes three sectors are each there or not; of 1024 two, of 512 one; and 100 bytes.
    assert_eq!(images.len(), 8 + 4 + 2 + 1);
    assert!(images.contains(&[&[1; 100][..], &[0; 1000]].concat()));
    assert!(
        images.contains(&[&[1; 100][..], &[0; 412], &[2; 588]].concat()),
        "out of order"
    );
}

#[test]
fn nothing_from_before_a_cut_is_seen_after_it() {
    let (disk, file) = disk_with(&[1; 1536]);
    file.set_len(512).unwrap();
    write(&*file, 1024, &[2; 512]);
    let images = random_images(&disk, 500);
    assert!(images.contains(&vec![1; 1536]), "the cut lost");
    assert!(images.contains(&vec![1; 512]), "the growth lost");
    assert!(
        images.contains(&[[1; 512], [0; 512], [0; 512]].concat()),
        "the data lost"
    );
    assert!(
        images.contains(&[[1; 512], [0; 512], [2; 512]].concat()),
        "all kept"
    );
    assert!(
        images.contains(&[[1; 512], [0; 512]].concat()),
        "growth half way"
    );
    assert_eq!(images.len(), 5);
}

#[test]
fn a_prefix_keeps_changes_in_order_and_tears_the_next() {
    let (disk, file) = disk_with(&[0; 2048]);
    let other = disk.open(Path::new("b"), OpenMode::Create).unwrap();
    write(&*file, 0, &[1; 2048]);
    write(&*other, 0, b"small");
    file.set_len(100).unwrap();
    assert_eq!(disk.unsynced(), 4);
    let found = |n| {
        let after = disk.after(Loss::Prefix(n));
        let b = after
            .exists(Path::new("b"))
            .unwrap()
            .then(|| contents(&after, "b"));
        (contents(&after, "a"), b)
    };
    let empty = Some(Vec::new());
    assert_eq!(found(0), (vec![0; 2048], None));
    assert_eq!(found(1), ([[1; 1024], [0; 1024]].concat(), empty.clone()));
    assert_eq!(found(2), (vec![1; 2048], empty));
    assert_eq!(found(3), (vec![1; 2048], Some(b"small".to_vec())));
    assert_eq!(found(4), (vec![1; 100], Some(b"small".to_vec())));
    assert_eq!(found(99), found(4));
    assert_eq!(disk.after(Loss::Prefix(4)).unsynced(), 0);
}

#[test]
fn a_rename_over_a_file_leaves_one_of_the_two() {
    let (disk, _file) = disk_with(b"old");
    let new = disk.open(Path::new("a.new"), OpenMode::Create).unwrap();
    write(&*new, 0, b"new");
    new.sync_data().unwrap();
    disk.rename(Path::new("a.new"), Path::new("a")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = disk.after(Loss::Random(seed));
        let found = (names(&after).join(" "), contents(&after, "a"));
        seen.insert(found);
    }
    let expected = [("a", "old"), ("a", "new"), ("a a.new", "old")];
    assert_eq!(
        seen,
        expected
            .map(|(n, c)| (n.to_owned(), c.as_bytes().to_vec()))
            .into()
    );
    disk.sync_dir(Path::new("/")).unwrap();
    let after = disk.after(Loss::All);
    assert_eq!(
        (names(&after).join(" "), contents(&after, "a")),
        ("a".into(), b"new".to_vec())
    );
}

#[test]
fn a_change_of_a_name_is_not_kept_without_the_one_before() {
    let (disk, _file) = disk_with(b"first");
    write(
        &*disk.open(Path::new("b"), OpenMode::Create).unwrap(),
        0,
        b"second",
    );
    disk.open(Path::new("b"), OpenMode::ReadWrite)
        .unwrap()
        .sync_data()
        .unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("b"), Path::new("a")).unwrap();
    disk.open(Path::new("b"), OpenMode::CreateNew).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = disk.after(Loss::Random(seed));
        let b = after
            .exists(Path::new("b"))
            .unwrap()
            .then(|| contents(&after, "b"));
        seen.insert((contents(&after, "a"), b));
    }
    let (first, second) = (b"first".to_vec(), b"second".to_vec());
    let neither = (first, Some(second.clone()));
    let expected = [neither, (second.clone(), None), (second, Some(Vec::new()))];
    assert_eq!(seen, expected.into());
}

#[test]
fn a_move_between_directories_is_two_changes() {
    let (disk, _file) = disk_with(b"moved");
    disk.create_dir(Path::new("to")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("a"), Path::new("to/a")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = disk.after(Loss::Random(seed));
        let exists = |path: &str| after.exists(Path::new(path)).unwrap();
        seen.insert((exists("a"), exists("to/a")));
    }
    assert_eq!(seen.len(), 4, "in one place, the other, both or none");
    disk.sync_dir(Path::new("to")).unwrap();
    for seed in 0..20 {
        assert_eq!(contents(&disk.after(Loss::Random(seed)), "to/a"), b"moved");
    }
    let both = disk.after(Loss::All);
    assert_eq!(contents(&both, "a"), b"moved");
}

#[test]
fn a_removal_that_is_not_synced_may_bring_the_file_back() {
    let (disk, file) = disk_with(b"synced");
    write(&*file, 0, b"SYNCED");
    disk.remove_file(Path::new("a")).unwrap();
    assert_eq!(contents(&disk.after(Loss::All), "a"), b"synced");
    assert_eq!(names(&disk.after(Loss::None)), [""; 0]);
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(names(&disk.after(Loss::All)), [""; 0]);
    assert_eq!(disk.unsynced(), 0, "what no name leads to cannot be lost");
    assert_eq!(file.len().unwrap(), 6, "the open handle still reads it");
}

#[test]
fn a_crash_at_each_call_stops_there_and_is_repeatable() {
    let script = |disk: &CrashingDisk| -> io::Result<()> {
        disk.create_dir(Path::new("dir"))?;
        let file = disk.open(Path::new("dir/a"), OpenMode::Create)?;
        file.write_at(0, &[IoSlice::new(&[1; 1000]), IoSlice::new(&[2; 1000])])?;
        file.sync_data()?;
        disk.rename(Path::new("dir/a"), Path::new("dir/b"))?;
        disk.sync_dir(Path::new("dir"))?;
        file.set_len(10)?;
        disk.lock(Path::new("dir/lock"), b"me")
            .map_err(io::Error::other)?;
        disk.remove_file(Path::new("dir/b"))
    };
    let whole = CrashingDisk::new();
    script(&whole).unwrap();
    assert_eq!(whole.calls(), 9);
    for call in 0..whole.calls() {
        let disk = CrashingDisk::new();
        disk.crash_after(call);
        assert_eq!(script(&disk).unwrap_err().kind(), ErrorKind::Other);
        assert!(disk.is_crashed());
        assert_eq!(disk.calls(), call);
        assert_eq!(
            disk.list(Path::new("/")).unwrap_err().to_string(),
            "crashed"
        );
        for image in disk.crash_images(call, 8) {
            assert!(!image.is_crashed());
            script(&image).unwrap();
        }
    }
    whole.crash_after(100);
    assert!(!whole.is_crashed());
}

#[test]
fn a_write_torn_by_the_death_of_the_process_leaves_its_first_half() {
    let (disk, file) = disk_with(b"");
    disk.crash_during(disk.calls());
    assert!(
        file.write_at(0, &[IoSlice::new(b"first"), IoSlice::new(b"second")])
            .is_err()
    );
    assert!(file.write_at(0, &[IoSlice::new(b"another")]).is_err());
    assert_eq!(contents(&disk.after(Loss::None), "a"), b"first");
    let (disk, file) = disk_with(b"");
    disk.crash_during(disk.calls());
    assert!(file.sync_data().is_err());
    assert!(file.write_at(0, &[IoSlice::new(b"too late")]).is_err());
    assert_eq!(contents(&disk.after(Loss::None), "a"), b"");
}

#[test]
fn the_fate_decides_each_sector_length_and_name() {
    let (disk, file) = disk_with(&[0; 1536]);
    write(&*file, 0, &[1; 1536]);
    disk.open(Path::new("b"), OpenMode::Create).unwrap();
    let mut asked = Vec::new();
    let mut sectors = [1, 0, 1].into_iter();
    let after = disk.after_power_loss(&mut |what| {
        asked.push(what.to_owned());
        match what {
            "name" => 1,
            "file" => 2,
            "length" => 1,
            "sector" => sectors.next().unwrap(),
            _ => panic!("{what}"),
        }
    });
    assert_eq!(
        asked,
        ["name", "file", "length", "sector", "sector", "sector"]
    );
    assert_eq!(
        contents(&after, "a"),
        [[1; 512], [0; 512], [1; 512]].concat()
    );
    assert_eq!(names(&after), ["a", "b"]);
    let nothing = disk.after_power_loss(&mut |_| 0);
    assert_eq!(
        (contents(&nothing, "a"), names(&nothing)),
        (vec![0; 1536], vec!["a".to_owned()])
    );
}

#[test]
fn one_seed_is_one_outcome() {
    let (disk, file) = disk_with(&[0; 4096]);
    write(&*file, 1000, &[1; 9000]);
    write(&*file, 3000, &[2; 500]);
    for seed in 0..50 {
        let image = || contents(&disk.after(Loss::Random(seed)), "a");
        assert_eq!(image(), image());
    }
    let images = |seed| -> Vec<_> {
        disk.crash_images(seed, 10)
            .iter()
            .map(|image| contents(image, "a"))
            .collect()
    };
    assert_eq!(images(1), images(1));
    assert_ne!(images(1), images(2));
}

#[test]
fn a_crash_releases_the_locks() {
    let disk = CrashingDisk::new();
    let held = disk.lock(Path::new("lock"), b"1").unwrap();
    for loss in EVERY_LOSS {
        let after = disk.after(loss);
        let _lock = after.lock(Path::new("lock"), b"2").unwrap();
        assert!(disk.lock(Path::new("lock"), b"3").is_err());
        assert!(after.lock(Path::new("lock"), b"3").is_err());
    }
    drop(held);
    disk.lock(Path::new("lock"), b"3").unwrap();
}
