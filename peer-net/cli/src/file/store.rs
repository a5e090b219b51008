//! Received files on disk: unfinished ones in a folder of our own, finished ones under a name that
//! nothing else has.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{Context, SHA256, digest};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::folder::StateFolder;
use super::name::numbered;

/// Bytes read at a time.
const BLOCK: usize = 64 * 1024;
/// Unfinished files that are kept, of all remotes. At the limit the one that got least far goes, of
/// those that do not come just now.
const PARTIALS_MAX: usize = 64;
/// Unfinished files that are kept of one remote. At the limit its own that got least far goes.
const PARTIALS_OF_REMOTE: usize = 16;
/// How long an unfinished file is kept after its last byte.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

/// SHA-256 as lower-case hex.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds a file from its current place to its end into `context`. Gives the bytes read.
pub(super) async fn hash_rest(file: &mut File, context: &mut Context) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        let read = file.read(&mut block).await?;
        if read == 0 {
            return Ok(total);
        }
        context.update(&block[..read]);
        total += read as u64;
    }
}

/// What is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one file.
    pub(super) file: u64,
    /// Bytes of the disk that are left free.
    pub(super) free: u64,
}

/// Which unfinished file: the remote's, and of this checksum. So nobody can write into, or end,
/// what another sends, although checksums are no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    remote: String,
    file: String,
}

impl Key {
    pub(super) fn new(remote: &str, sha256: &str) -> Self {
        let remote = hex(&digest(&SHA256, remote.as_bytes()).as_ref()[..8]);
        let both = format!("{remote}\0{sha256}");
        let file = hex(&digest(&SHA256, both.as_bytes()).as_ref()[..16]);
        Self { remote, file }
    }

    fn file_name(&self) -> String {
        format!("{}-{}.part", self.remote, self.file)
    }

    fn of_file_name(name: &str) -> Option<Self> {
        let (remote, file) = name.strip_suffix(".part")?.split_once('-')?;
        let (remote, file) = (remote.to_owned(), file.to_owned());
        Some(Self { remote, file })
    }
}

/// An unfinished file, as far as others need to know it.
struct Entry {
    length: u64,
    /// When its last byte came.
    touched: SystemTime,
    /// How many bytes are still to come, while it comes.
    promised: Option<u64>,
}

/// The folder that files are put into, and the one of the unfinished ones.
pub(super) struct Store {
    folder: PathBuf,
    state: StateFolder,
    limits: Limits,
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Store {
    /// Opens both folders, and makes them where there are none.
    ///
    /// # Errors
    /// They cannot be used, or another `peer receive` uses them.
    pub(super) fn open(folder: &Path, limits: Limits) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let state = StateFolder::open(folder)?;
        let mut entries = HashMap::new();
        for (name, metadata) in state.files()? {
            let Some(key) = Key::of_file_name(&name) else {
                continue;
            };
            let touched = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let entry = Entry {
                length: metadata.len(),
                touched,
                promised: None,
            };
            entries.insert(key, entry);
        }
        let store = Self {
            folder: folder.to_owned(),
            state,
            limits,
            entries: Mutex::new(entries),
        };
        store.expire();
        Ok(store)
    }

    /// Leaves nothing behind where nothing is unfinished. To be called last.
    pub(super) fn close(&self) {
        self.state.tidy();
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what is too old to be gone on with.
    pub(super) fn expire(&self) {
        let mut entries = self.entries();
        let now = SystemTime::now();
        let old = |entry: &Entry| {
            now.duration_since(entry.touched)
                .is_ok_and(|age| age > PARTIAL_AGE)
        };
        let gone: Vec<_> = entries
            .iter()
            .filter(|(_, entry)| entry.promised.is_none() && old(entry))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.drop_partial(&mut entries, &key);
        }
    }

    fn drop_partial(&self, entries: &mut HashMap<Key, Entry>, key: &Key) {
        entries.remove(key);
        if let Err(error) = self.state.remove(&key.file_name())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("an unfinished file could not be removed: {error}");
        }
    }

    /// Makes room for a file, and begins or goes on with it. One of a key comes at a time; the
    /// caller sees to that.
    ///
    /// # Errors
    /// A sentence for both sides.
    pub(super) async fn begin(self: &Arc<Self>, key: Key, size: u64) -> Result<Partial, String> {
        if size > self.limits.file {
            return Err(format!("at most {} bytes are taken here", self.limits.file));
        }
        let mut partial = Partial {
            store: Arc::clone(self),
            file: None,
            context: Context::new(&SHA256),
            length: 0,
            size,
            key,
        };
        let cannot = |error: io::Error| format!("it cannot be written here: {error}");
        self.claim(&partial.key, size)?;
        if let Some(file) = self
            .state
            .open_file(&partial.key.file_name())
            .map_err(cannot)?
        {
            let mut file = File::from_std(file);
            if file.metadata().await.map_err(cannot)?.len() > size {
                file.set_len(0).await.map_err(cannot)?;
            }
            let length = hash_rest(&mut file, &mut partial.context)
                .await
                .map_err(cannot)?;
            (partial.file, partial.length) = (Some(file), length);
            partial.progressed();
        }
        Ok(partial)
    }

    /// Claims a place and room on the disk.
    fn claim(&self, key: &Key, size: u64) -> Result<(), String> {
        let free = self
            .state
            .free()
            .map_err(|error| format!("the disk cannot be looked at here: {error}"))?;
        let mut entries = self.entries();
        let there = entries.get(key).map_or(0, |entry| entry.length);
        let promised: u64 = entries
            .iter()
            .filter(|(other, _)| *other != key)
            .filter_map(|(_, entry)| entry.promised)
            .fold(0, u64::saturating_add);
        let wanted = size.saturating_sub(there);
        if promised
            .saturating_add(wanted)
            .saturating_add(self.limits.free)
            > free
        {
            return Err("there is not enough free disk here".to_owned());
        }
        if !entries.contains_key(key) {
            let of_remote = entries
                .keys()
                .filter(|other| other.remote == key.remote)
                .count();
            if of_remote >= PARTIALS_OF_REMOTE {
                self.give_way(&mut entries, |other| other.remote == key.remote)?;
            } else if entries.len() >= PARTIALS_MAX {
                self.give_way(&mut entries, |_| true)?;
            }
        }
        let entry = entries.entry(key.clone()).or_insert(Entry {
            length: 0,
            touched: SystemTime::now(),
            promised: None,
        });
        entry.promised = Some(wanted);
        Ok(())
    }

    /// Removes the unfinished file that got least far; of several the oldest.
    fn give_way(
        &self,
        entries: &mut HashMap<Key, Entry>,
        may: impl Fn(&Key) -> bool,
    ) -> Result<(), String> {
        let idle = entries
            .iter()
            .filter(|(key, entry)| entry.promised.is_none() && may(key));
        let least = idle.min_by_key(|(_, entry)| (entry.length, entry.touched));
        let Some(key) = least.map(|(key, _)| key.clone()) else {
            return Err("too many files come at once".to_owned());
        };
        self.drop_partial(entries, &key);
        Ok(())
    }
}

/// A file that is on its way. On disk there is nothing of it before its first byte.
pub(super) struct Partial {
    store: Arc<Store>,
    file: Option<File>,
    context: Context,
    length: u64,
    size: u64,
    key: Key,
}

impl Drop for Partial {
    fn drop(&mut self) {
        let mut entries = self.store.entries();
        if self.length == 0 {
            entries.remove(&self.key);
        } else if let Some(entry) = entries.get_mut(&self.key) {
            entry.promised = None;
        }
    }
}

impl Partial {
    /// Bytes that are there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    fn progressed(&self) {
        if let Some(entry) = self.store.entries().get_mut(&self.key) {
            entry.length = self.length;
            entry.touched = SystemTime::now();
            entry.promised = Some(self.size.saturating_sub(self.length));
        }
    }

    async fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::from_std(self.store.state.create(&self.key.file_name())?),
        };
        Ok(self.file.insert(file))
    }

    /// Appends. More than the announced size is an error: the sender lied.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the sender sent more than it announced",
            ));
        }
        self.file().await?.write_all(bytes).await?;
        self.context.update(bytes);
        self.length += bytes.len() as u64;
        self.progressed();
        Ok(())
    }

    /// Verifies the file as it is stored, and gives it a name that nothing else had.
    ///
    /// A file that does not verify is removed: going on with it could never succeed.
    pub(super) async fn finish(mut self, name: &str, sha256: &str) -> io::Result<PathBuf> {
        if self.length != self.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} of {} bytes came", self.length, self.size),
            ));
        }
        let came = core::mem::replace(&mut self.context, Context::new(&SHA256)).finish();
        let file = self.file().await?;
        file.flush().await?;
        file.sync_all().await?;
        file.rewind().await?;
        let mut stored = Context::new(&SHA256);
        let length = hash_rest(file, &mut stored).await?;
        // Nobody else has the file open, and from here on neither have we.
        self.file = None;
        let is_right = |digest: &[u8]| hex(digest) == sha256;
        let verified = length == self.size && is_right(stored.finish().as_ref());
        if !verified {
            let store = Arc::clone(&self.store);
            store.drop_partial(&mut store.entries(), &self.key);
            self.length = 0;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                if is_right(came.as_ref()) {
                    "what the disk holds is not what came"
                } else {
                    "the checksum does not match"
                },
            ));
        }
        let path = self.publish(name, sha256).await?;
        self.store.entries().remove(&self.key);
        Ok(path)
    }

    async fn publish(&self, name: &str, sha256: &str) -> io::Result<PathBuf> {
        let partial = self.store.state.path(&self.key.file_name());
        for number in 0.. {
            let Some(name) = numbered(name, number, sha256) else {
                break;
            };
            let target = self.store.folder.join(name);
            // A hard link fails where a rename would overwrite.
            match fs::hard_link(&partial, &target).await {
                Ok(()) => {
                    fs::remove_file(&partial).await?;
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // File systems without hard links (FAT): claim the name, then rename over the
                // claim.
                Err(_) => match File::create_new(&target).await {
                    Ok(_) => {
                        fs::rename(&partial, &target).await?;
                        return Ok(target);
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("too many files are called {name}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        file: 1 << 20,
        free: 0,
    };

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let name = format!("peer-store-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn store(&self) -> Arc<Store> {
            Arc::new(Store::open(&self.0, LIMITS).expect("a store"))
        }

        /// What is in the folder, the unfinished files apart.
        fn files(&self) -> Vec<String> {
            let names = std::fs::read_dir(&self.0).expect("a folder").flatten();
            let mut names: Vec<_> = names
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.retain(|name| !name.starts_with('.'));
            names.sort();
            names
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn sha256(data: &[u8]) -> String {
        hex(digest(&SHA256, data).as_ref())
    }

    async fn begin(store: &Arc<Store>, remote: &str, data: &[u8]) -> Result<Partial, String> {
        store
            .begin(Key::new(remote, &sha256(data)), data.len() as u64)
            .await
    }

    #[tokio::test]
    async fn resumes_verifies_and_never_overwrites() -> Result<(), Box<dyn core::error::Error>> {
        let folder = Temporary::new("resumes");
        let data = vec![7_u8; 100_000];
        for expected in ["a.bin", "a (1).bin"] {
            let mut partial = begin(&folder.store(), "bob", &data).await?;
            partial.write(&data[..40_000]).await?;
            partial.file().await?.flush().await?;
            drop(partial);
            // By another process, and with others there.
            let store = folder.store();
            let mut others = begin(&store, "mallory", &data).await?;
            assert!(others.length() < 40_000, "it is another's");
            others.write(&data[..10]).await?;
            let mut partial = begin(&store, "bob", &data).await?;
            assert_eq!(partial.length(), 40_000);
            partial.write(&data[40_000..]).await?;
            assert!(partial.write(b"x").await.is_err());
            let path = partial.finish("a.bin", &sha256(&data)).await?;
            assert_eq!(path, folder.0.join(expected));
            assert_eq!(fs::read(path).await?, data);
        }
        assert_eq!(folder.files(), ["a (1).bin", "a.bin"]);
        Ok(())
    }

    #[tokio::test]
    async fn what_does_not_verify_is_gone() -> Result<(), Box<dyn core::error::Error>> {
        let folder = Temporary::new("verify");
        let store = folder.store();
        let wrong = "0".repeat(64);
        let mut partial = store.begin(Key::new("bob", &wrong), 1).await?;
        partial.write(b"x").await?;
        assert!(partial.finish("b", &wrong).await.is_err());
        // Changed on disk after it came.
        let mut partial = begin(&store, "bob", b"right").await?;
        let path = store.state.path(&partial.key.file_name());
        partial.write(b"right").await?;
        partial.file().await?.flush().await?;
        fs::write(&path, "wrong").await?;
        let refused = partial.finish("c", &sha256(b"right")).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("the disk holds")));
        assert!(folder.files().is_empty());
        assert!(store.state.files()?.is_empty() && store.entries().is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn strangers_do_not_close_the_folder() -> Result<(), Box<dyn core::error::Error>> {
        let folder = Temporary::new("strangers");
        let store = folder.store();
        // Offers without a byte leave nothing behind.
        for number in 0..1000_u32 {
            drop(begin(&store, "mallory", &number.to_be_bytes()).await?);
        }
        assert!(store.entries().is_empty() && store.state.files()?.is_empty());
        // Those that got on stay, those with a byte under many names go.
        let mut honest = begin(&store, "bob", &[1; 1000]).await?;
        honest.write(&[1; 900]).await?;
        honest.file().await?.flush().await?;
        drop(honest);
        for number in 0..200_u32 {
            let data = [number.to_be_bytes(), [0; 4]].concat();
            let mut partial = begin(&store, &format!("mallory{number}"), &data).await?;
            partial.write(&data[..1]).await?;
        }
        assert_eq!(store.entries().len(), PARTIALS_MAX);
        assert_eq!(begin(&store, "bob", &[1; 1000]).await?.length(), 900);
        for number in 0..200_u32 {
            let data = [number.to_be_bytes(), [1; 4]].concat();
            begin(&store, "mallory", &data)
                .await?
                .write(&data[..5])
                .await?;
        }
        let of_one = Key::new("mallory", "").remote;
        let kept = store
            .entries()
            .keys()
            .filter(|key| key.remote == of_one)
            .count();
        assert_eq!(kept, PARTIALS_OF_REMOTE);
        Ok(())
    }

    #[tokio::test]
    async fn the_disk_stays_free() -> Result<(), Box<dyn core::error::Error>> {
        let folder = Temporary::new("disk");
        let limits = Limits {
            file: u64::MAX,
            free: 1 << 20,
        };
        let store = Arc::new(Store::open(&folder.0, limits)?);
        let key = |name: &str| Key::new(name, "");
        assert!(store.begin(key("a"), u64::MAX).await.is_err());
        let most = store.state.free()? / 3 * 2;
        let first = store.begin(key("a"), most).await?;
        // What is promised to one is not there for another.
        assert!(store.begin(key("b"), most).await.is_err());
        drop(first);
        assert!(store.begin(key("b"), most).await.is_ok());
        Ok(())
    }

    #[test]
    fn one_process_uses_a_folder() {
        let folder = Temporary::new("lock");
        let first = folder.store();
        assert!(Store::open(&folder.0, LIMITS).is_err());
        drop(first);
        folder.store();
    }
}
