//! The folder of unfinished files: this user's alone, and one process's at a time.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// In the folder that files are put into, so that finished ones need no copy.
const NAME: &str = ".peer-receive";
/// Locked by the process that uses the folder.
const LOCK: &str = "lock";

pub(super) struct StateFolder {
    path: PathBuf,
    /// Locked.
    _lock: File,
}

impl StateFolder {
    /// Opens the state folder in `parent`, and makes it where there is none. A link in its place is
    /// not followed.
    pub(super) fn open(parent: &Path) -> io::Result<Self> {
        let path = parent.join(NAME);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        match builder.create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        check(&path)?;
        let mut options = options();
        let lock = options.create(true).truncate(false).open(path.join(LOCK))?;
        match lock.try_lock() {
            // Whoever had it may have tidied it away meanwhile.
            Ok(()) if !is_there(&path.join(LOCK), &lock)? => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another peer receive just left",
            )),
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another peer receive puts files there",
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes the folder if it holds nothing. To be called last.
    pub(super) fn tidy(&self) {
        if self.files().is_ok_and(|files| files.is_empty()) {
            // What cannot be removed does no harm.
            drop(fs::remove_file(self.path(LOCK)).and_then(|()| fs::remove_dir(&self.path)));
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The files that are there.
    pub(super) fn files(&self) -> io::Result<Vec<(String, Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata()?;
            if name != LOCK && metadata.is_file() {
                files.push((name, metadata));
            }
        }
        Ok(files)
    }

    /// Makes a file that is not there.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        options().create_new(true).open(self.path(name))
    }

    /// Opens a file that is there; what is no plain file of one name is removed.
    pub(super) fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        match options().open(self.path(name)) {
            Ok(file) if is_plain(&file.metadata()?) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(_) | Err(_) => {
                self.remove(name)?;
                Ok(None)
            }
        }
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    /// Free bytes of its disk.
    #[cfg(unix)]
    pub(super) fn free(&self) -> io::Result<u64> {
        let disk = nix::sys::statvfs::statvfs(&self.path)?;
        // Their types differ from system to system.
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
        let (blocks, size) = (
            u64::try_from(disk.blocks_available()).unwrap_or(u64::MAX),
            u64::try_from(disk.fragment_size()).unwrap_or(u64::MAX),
        );
        Ok(blocks.saturating_mul(size))
    }

    /// Nobody tells here.
    #[cfg(not(unix))]
    pub(super) fn free(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// To read and write, never through a link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(nix::libc::O_NOFOLLOW);
    }
    options
}

#[cfg(unix)]
fn check(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::symlink_metadata(path)?;
    let own = metadata.uid() == nix::unistd::Uid::effective().as_raw();
    if metadata.is_dir() && own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} must be a folder of this user alone (mode 0700); move it away",
            path.display()
        ),
    ))
}

#[cfg(not(unix))]
fn check(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} must be a folder; move it away", path.display()),
        ))
    }
}

/// Whether the path still leads to the file.
#[cfg(unix)]
fn is_there(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let same =
        |there: Metadata, ours: Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(same(there, file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_there(path: &Path, _: &File) -> io::Result<bool> {
    Ok(path.exists())
}

#[cfg(unix)]
fn is_plain(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    metadata.is_file() && metadata.nlink() == 1
}

#[cfg(not(unix))]
fn is_plain(metadata: &Metadata) -> bool {
    metadata.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_are_not_followed() -> io::Result<()> {
        let parent = std::env::temp_dir().join(format!("peer-folder-{}", std::process::id()));
        fs::create_dir_all(&parent)?;
        let (elsewhere, precious) = (parent.join("elsewhere"), parent.join("precious"));
        fs::create_dir_all(&elsewhere)?;
        fs::write(&precious, "precious")?;
        symlink(&elsewhere, parent.join(NAME))?;
        assert!(StateFolder::open(&parent).is_err(), "a link in its place");
        fs::remove_file(parent.join(NAME))?;

        let folder = StateFolder::open(&parent)?;
        let mode = fs::metadata(&folder.path)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        symlink(&precious, folder.path("a.part"))?;
        assert!(folder.open_file("a.part")?.is_none());
        assert!(!folder.path("a.part").exists());
        symlink(&precious, folder.path("b.part"))?;
        assert!(folder.create("b.part").is_err());
        fs::hard_link(&precious, folder.path("c.part"))?;
        assert!(folder.open_file("c.part")?.is_none(), "it has another name");
        assert_eq!(fs::read(&precious)?, b"precious");
        drop(folder);

        fs::set_permissions(parent.join(NAME), fs::Permissions::from_mode(0o755))?;
        assert!(
            StateFolder::open(&parent).is_err(),
            "others may look into it"
        );
        fs::remove_dir_all(parent)
    }
}
