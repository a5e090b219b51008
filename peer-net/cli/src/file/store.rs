//! A received file on disk: partial first, verified, then under a name nothing else has.

use std::io;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes read at a time.
const BLOCK: usize = 64 * 1024;
/// Longest file name, in bytes; what common file systems take, less room for ` (123)`.
const NAME_MAX: usize = 240;
/// How many ` (1)`, ` (2)` … are tried before giving up.
const NAMES_TRIED_MAX: u32 = 1000;

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

/// The part of a remote's file name that may be used here; `None` when nothing is left.
///
/// Folders, control characters, a leading dot and what Windows forbids go.
pub(super) fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|'))
        .collect();
    let mut kept = kept.trim().trim_start_matches('.').trim_end_matches('.');
    while kept.len() > NAME_MAX {
        let cut = kept.char_indices().next_back().map_or(0, |(at, _)| at);
        kept = &kept[..cut];
    }
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// The hidden name of a partial file.
fn partial_name(sha256: &str) -> String {
    format!(".{}.part", &sha256[..32])
}

/// Partial files in a folder, the one of this checksum not counted.
pub(super) async fn partials(folder: &Path, sha256: &str) -> io::Result<usize> {
    let own = partial_name(sha256);
    let mut entries = fs::read_dir(folder).await?;
    let mut count = 0;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        count += usize::from(name.starts_with('.') && name.ends_with(".part") && name != own);
    }
    Ok(count)
}

/// A file that is on its way. Its partial file's name holds the checksum, so a later attempt goes on where
/// this one stopped and never mixes two files.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    name: String,
    sha256: String,
    context: Context,
    length: u64,
    size: u64,
}

impl Partial {
    /// Opens or goes on with a partial file. `name` has gone through [`safe_name`], `sha256` is 64 hex digits.
    pub(super) async fn open(
        folder: &Path,
        name: &str,
        size: u64,
        sha256: &str,
    ) -> io::Result<Self> {
        let path = folder.join(partial_name(sha256));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .await?;
        if file.metadata().await?.len() > size {
            file.set_len(0).await?;
        }
        let mut context = Context::new(&SHA256);
        let length = hash_rest(&mut file, &mut context).await?;
        Ok(Self {
            file,
            path,
            folder: folder.to_owned(),
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            context,
            length,
            size,
        })
    }

    /// Bytes that are there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Appends. More than the announced size is an error: the sender lied.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the sender sent more than it announced",
            ));
        }
        self.file.write_all(bytes).await?;
        self.context.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Verifies length and checksum and gives the file its name, which nothing else had.
    ///
    /// A file that does not verify is removed: going on with it could never succeed.
    pub(super) async fn finish(mut self) -> io::Result<PathBuf> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        if self.length != self.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} of {} bytes came", self.length, self.size),
            ));
        }
        if hex(self.context.finish().as_ref()) != self.sha256 {
            fs::remove_file(&self.path).await?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checksum does not match",
            ));
        }
        for number in 0..NAMES_TRIED_MAX {
            let target = self.folder.join(numbered(&self.name, number));
            // A hard link fails where a rename would overwrite.
            match fs::hard_link(&self.path, &target).await {
                Ok(()) => {
                    fs::remove_file(&self.path).await?;
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // File systems without hard links (FAT): claim the name, then rename over the claim.
                Err(_) => match OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&target)
                    .await
                {
                    Ok(_) => {
                        fs::rename(&self.path, &target).await?;
                        return Ok(target);
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("too many files are called {}", self.name),
        ))
    }
}

/// `name`, `name (1)`, `name (2)` …, with the number before the extension.
fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, extension))) if !stem.is_empty() => {
            format!("{stem} ({number}).{extension}")
        }
        _ => format!("{name} ({number})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_stay_in_the_folder() {
        assert_eq!(safe_name("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(safe_name("C:\\boot.ini").as_deref(), Some("boot.ini"));
        assert_eq!(safe_name("..").as_deref(), None);
        assert_eq!(safe_name(".bashrc").as_deref(), Some("bashrc"));
        assert_eq!(safe_name("a\0\nb").as_deref(), Some("ab"));
        assert_eq!(safe_name(""), None);
        assert!(safe_name(&"ü".repeat(500)).is_some_and(|name| name.len() <= NAME_MAX));
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a.tar", 0), "a.tar");
        assert_eq!(numbered("a.tar", 2), "a (2).tar");
        assert_eq!(numbered("a", 1), "a (1)");
    }

    #[tokio::test]
    async fn resumes_verifies_and_never_overwrites() -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("peer-store-{}", std::process::id()));
        fs::create_dir_all(&folder).await?;
        let data = vec![7_u8; 100_000];
        let sha256 = hex(ring::digest::digest(&SHA256, &data).as_ref());
        for expected in ["a.bin", "a (1).bin"] {
            let mut partial = Partial::open(&folder, "a.bin", 100_000, &sha256).await?;
            partial.write(&data[..40_000]).await?;
            partial.file.flush().await?;
            drop(partial);
            let mut partial = Partial::open(&folder, "a.bin", 100_000, &sha256).await?;
            assert_eq!(partial.length(), 40_000);
            partial.write(&data[40_000..]).await?;
            assert!(partial.write(b"x").await.is_err());
            let path = partial.finish().await?;
            assert_eq!(path, folder.join(expected));
            assert_eq!(fs::read(path).await?, data);
        }
        let mut wrong = Partial::open(&folder, "b", 1, &"0".repeat(64)).await?;
        wrong.write(b"x").await?;
        assert!(wrong.finish().await.is_err());
        assert_eq!(std::fs::read_dir(&folder)?.count(), 2, "no partial is left");
        fs::remove_dir_all(folder).await
    }
}
