//! File systems of a test's own: small, read-only, slow, forgetful. Gone when dropped, also when
//! the test panics.

#[cfg(target_os = "linux")]
pub mod fuse;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

/// Says that a test is skipped. Where CI runs the tests, what they need is there.
fn skipped(what: &str, why: impl std::fmt::Display) {
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci, "{what} is needed in CI: {why}");
    eprintln!("skipped: no {what}: {why}");
}

impl Mount {
    /// A file system in memory of this many bytes; none where this process may not mount.
    pub fn in_memory(bytes: u64) -> Option<Self> {
        let mount = Self::unmounted();
        let size = format!("size={bytes}");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&mount.path);
        match run(&mut command) {
            Ok(()) => Some(mount),
            Err(why) => {
                skipped("small file system", why);
                None
            }
        }
    }

    /// An ext4 in an image of this many bytes; none where this process may not mount.
    pub fn ext4(bytes: u64) -> Option<Self> {
        let mount = Self::unmounted();
        let made = std::fs::File::create(mount.image())
            .and_then(|image| image.set_len(bytes))
            .map_err(|error| error.to_string())
            .and_then(|()| run(Command::new("mkfs.ext4").arg("-q").arg(mount.image())))
            .and_then(|()| mount.mount_image());
        match made {
            Ok(()) => Some(mount),
            Err(why) => {
                skipped("file system in an image", why);
                None
            }
        }
    }

    fn image(&self) -> PathBuf {
        self.path.with_extension("image")
    }

    fn mount_image(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(&self.path))
    }

    /// Lets an ext4 give up, as it does after an error of its device: it is read-only at once,
    /// whoever writes to it.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn abort(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "remount,abort"])
            .arg(&self.path))
    }

    /// Unmounts an ext4 that nobody uses any more, and mounts it again.
    ///
    /// # Errors
    /// What `umount` or `mount` says.
    pub fn mount_again(&mut self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.path))?;
        self.mount_image()
    }

    /// A place where something may be mounted.
    fn unmounted() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("mount");
        std::fs::create_dir(&path).expect("a directory");
        Self { path, _dir: dir }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker that was just killed may hold it for a moment. A test that was skipped
        // has mounted nothing.
        let _ = run(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(target_os = "linux")]
pub use of_disk::DiskMount;

#[cfg(target_os = "linux")]
mod of_disk {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use fuser::{BackgroundSession, Config, MountOption, spawn_mount};
    use npayload::storage::disk::Disk;

    use super::fuse::{DiskFs, SyncDelay};
    use super::{Mount, skipped};

    /// A disk of this process, mounted.
    #[derive(Debug)]
    pub struct DiskMount {
        // Unmounted first, so that the session has an end.
        mount: Mount,
        _session: BackgroundSession,
        sync_delay_ms: SyncDelay,
    }

    impl DiskMount {
        /// None where this process may not mount.
        pub fn of(disk: Arc<dyn Disk>) -> Option<Self> {
            let mount = Mount::unmounted();
            let sync_delay_ms = SyncDelay::default();
            let fs = DiskFs::new(disk, sync_delay_ms.clone());
            let mut config = Config::default();
            config.mount_options = vec![MountOption::FSName("npayload-test".to_owned())];
            config.n_threads = Some(4);
            match spawn_mount(fs, mount.path(), &config) {
                Ok(session) => Some(Self {
                    mount,
                    _session: session,
                    sync_delay_ms,
                }),
                Err(error) => {
                    skipped("file system in user space", error);
                    None
                }
            }
        }

        pub fn path(&self) -> &Path {
            self.mount.path()
        }

        /// From now on each sync of a file takes this long.
        pub fn delay_syncs(&self, ms: u64) {
            self.sync_delay_ms.store(ms, Ordering::Release);
        }
    }
}
