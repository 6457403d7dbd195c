//! A disk of this process as a file system of the kernel, for processes that only know files.
//!
//! What the kernel is asked for becomes a call of [`Disk`]: a write reaches it before the call
//! returns, and `fsync` of a file or a directory is a sync of it. So the disks that forget, fail
//! and crash do so under the real binary.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use npayload::storage::disk::{Disk, DiskFile, OpenMode};

/// How long the kernel may keep what it was told of a name: all changes go through it.
const KEPT: Duration = Duration::from_secs(60);

/// How long each sync of a file takes at least, in milliseconds; shared with the test.
pub type SyncDelay = Arc<AtomicU64>;

/// The file system; its inodes are the paths of a disk.
#[derive(Debug)]
pub struct DiskFs {
    disk: Arc<dyn Disk>,
    sync_delay_ms: SyncDelay,
    nodes: Mutex<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    by_number: HashMap<u64, Node>,
    by_path: HashMap<PathBuf, u64>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Node {
    path: PathBuf,
    /// `None` for a directory. Stays usable after the name is gone.
    file: Option<Arc<dyn DiskFile>>,
}

impl DiskFs {
    pub fn new(disk: Arc<dyn Disk>, sync_delay_ms: SyncDelay) -> Self {
        let root = Node {
            path: PathBuf::from("/"),
            file: None,
        };
        let nodes = Nodes {
            by_path: HashMap::from([(root.path.clone(), INodeNo::ROOT.0)]),
            by_number: HashMap::from([(INodeNo::ROOT.0, root)]),
            next: INodeNo::ROOT.0 + 1,
        };
        Self {
            disk,
            sync_delay_ms,
            nodes: Mutex::new(nodes),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no call panics")
    }

    fn node(&self, number: INodeNo) -> io::Result<Node> {
        let nodes = self.nodes();
        Ok(nodes
            .by_number
            .get(&number.0)
            .ok_or(io::ErrorKind::NotFound)?
            .clone())
    }

    fn file(&self, number: INodeNo) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.node(number)?.file;
        Ok(file.ok_or(io::ErrorKind::IsADirectory)?)
    }

    fn path(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.node(parent)?.path.join(name))
    }

    /// The attributes of a path, which gets a number if it has none.
    fn look_up(&self, path: &Path) -> io::Result<FileAttr> {
        let known = self.nodes().by_path.get(path).copied();
        if let Some(number) = known {
            return self.attributes(INodeNo(number));
        }
        if !self.disk.exists(path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = match self.disk.open(path, OpenMode::ReadWrite) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => None,
            Err(error) => return Err(error),
        };
        let number = self.nodes().add(path, file);
        self.attributes(number)
    }

    fn attributes(&self, number: INodeNo) -> io::Result<FileAttr> {
        let node = self.node(number)?;
        let (kind, perm, size) = match &node.file {
            Some(file) => (FileType::RegularFile, 0o600, file.len()?),
            None => (FileType::Directory, 0o700, 0),
        };
        Ok(FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn create_file(&self, path: &Path) -> io::Result<FileAttr> {
        let file = self.disk.open(path, OpenMode::Create)?;
        let number = self.nodes().add(path, Some(file));
        self.attributes(number)
    }

    fn move_name(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)?;
        self.nodes().rename(from, to);
        Ok(())
    }
}

impl Nodes {
    fn add(&mut self, path: &Path, file: Option<Arc<dyn DiskFile>>) -> INodeNo {
        let number = self.next;
        self.next += 1;
        let path = path.to_owned();
        self.by_path.insert(path.clone(), number);
        self.by_number.insert(number, Node { path, file });
        INodeNo(number)
    }

    fn forget_name(&mut self, path: &Path) {
        self.by_path.remove(path);
    }

    /// Moves a name, and those below it.
    fn rename(&mut self, from: &Path, to: &Path) {
        self.by_path.remove(to);
        let moved: Vec<(PathBuf, u64)> = self
            .by_path
            .extract_if(|path, _| path.starts_with(from))
            .collect();
        for (path, number) in moved {
            let rest = path.strip_prefix(from).expect("it starts with it");
            let path = if rest.as_os_str().is_empty() {
                to.to_owned()
            } else {
                to.join(rest)
            };
            if let Some(node) = self.by_number.get_mut(&number) {
                node.path.clone_from(&path);
            }
            self.by_path.insert(path, number);
        }
    }
}

/// The number of an error, which a disk in memory gives only a kind.
fn errno(error: &io::Error) -> Errno {
    match (error.raw_os_error(), error.kind()) {
        (Some(number), _) => Errno::from_i32(number),
        (None, io::ErrorKind::NotFound) => Errno::ENOENT,
        (None, io::ErrorKind::AlreadyExists) => Errno::EEXIST,
        (None, io::ErrorKind::NotADirectory) => Errno::ENOTDIR,
        (None, io::ErrorKind::IsADirectory) => Errno::EISDIR,
        (None, io::ErrorKind::DirectoryNotEmpty) => Errno::ENOTEMPTY,
        (None, io::ErrorKind::InvalidInput) => Errno::EINVAL,
        (None, io::ErrorKind::FileTooLarge) => Errno::EFBIG,
        _ => Errno::EIO,
    }
}

fn empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

fn entry(result: io::Result<FileAttr>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
        Err(error) => reply.error(errno(&error)),
    }
}

fn attr(result: io::Result<FileAttr>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&KEPT, &attributes),
        Err(error) => reply.error(errno(&error)),
    }
}

impl Filesystem for DiskFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.path(parent, name).and_then(|path| self.look_up(&path));
        entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.attributes(ino), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = match size {
            Some(len) => self.file(ino).and_then(|file| file.set_len(len)),
            None => Ok(()),
        };
        attr(resized.and_then(|()| self.attributes(ino)), reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.path(parent, name).and_then(|path| {
            self.disk.create_dir(&path)?;
            self.look_up(&path)
        });
        entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.path(parent, name).and_then(|path| {
            self.disk.remove_file(&path)?;
            self.nodes().forget_name(&path);
            Ok(())
        });
        empty(removed, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.path(parent, name).and_then(|path| {
            self.disk.remove_dir(&path)?;
            self.nodes().forget_name(&path);
            Ok(())
        });
        empty(removed, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.path(parent, name).and_then(|from| {
            let to = self.path(new_parent, new_name)?;
            self.move_name(&from, &to)
        });
        empty(renamed, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self
            .path(parent, name)
            .and_then(|path| self.create_file(&path));
        match created {
            Ok(attributes) => reply.created(
                &KEPT,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let read = self
            .file(ino)
            .and_then(|file| file.read_at(offset, &mut bytes));
        match read {
            Ok(read) => reply.data(&bytes[..read]),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self
            .file(ino)
            .and_then(|file| file.write_at(offset, &[IoSlice::new(data)]));
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("as the kernel asked")),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(Duration::from_millis(
            self.sync_delay_ms.load(Ordering::Acquire),
        ));
        empty(self.file(ino).and_then(|file| file.sync_data()), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self
            .node(ino)
            .and_then(|node| self.disk.sync_dir(&node.path));
        empty(synced, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.node(ino).and_then(|node| self.disk.list(&node.path));
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => return reply.error(errno(&error)),
        };
        let from = usize::try_from(offset).expect("small");
        for (entry, next) in entries.iter().zip(1..).skip(from) {
            let kind = if entry.is_dir {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            // The number is only a hint; a look-up follows.
            if reply.add(INodeNo(u64::MAX), next, kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.disk.available(Path::new("/")) {
            Ok(bytes) => {
                let blocks = bytes / 4096;
                reply.statfs(blocks, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }
}
