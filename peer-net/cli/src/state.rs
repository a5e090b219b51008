//! `--state DIR`: the id and the token of a peer, kept so that a program that starts again is the
//! same peer to its broker.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The file in the folder.
const FILE: &str = "peer.json";
/// More than an id and a token need.
const FILE_MAX: u64 = 4096;

/// Who a peer is at its broker.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) token: String,
}

/// The folder, which belongs to this process while this lives.
pub(crate) struct State {
    pub(crate) identity: Identity,
    /// Locked.
    _file: File,
}

impl State {
    /// Opens the folder, and makes it where there is none. What it lacks is made up and written to
    /// it; an `id` or a `token` that is given replaces the one of before.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub(crate) fn open(
        folder: &Path,
        id: Option<&str>,
        token: Option<&str>,
    ) -> Result<Self, Failure> {
        let cannot =
            |what: String| move |error: io::Error| Failure::file(format!("{what}: {error}"));
        let shown = folder.display();
        make_folder(folder).map_err(cannot(format!("the folder {shown} cannot be made")))?;
        let path = folder.join(FILE);
        let mut file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(cannot(format!("{} cannot be opened", path.display())))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::file(format!(
                    "another process uses the state in {shown}; give each its own --state"
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(cannot(format!("{} cannot be locked", path.display()))(
                    error,
                ));
            }
        }
        let before =
            read(&mut file).map_err(cannot(format!("{} cannot be read", path.display())))?;
        let identity = Identity {
            id: match (id, &before.id[..]) {
                (Some(id), _) => id.to_owned(),
                (None, "") => uuid()?,
                (None, id) => id.to_owned(),
            },
            token: match (token, &before.token[..]) {
                (Some(token), _) => token.to_owned(),
                (None, "") => hex(&random::<16>()?),
                (None, token) => token.to_owned(),
            },
        };
        if (&identity.id, &identity.token) != (&before.id, &before.token) {
            write(&mut file, &identity)
                .map_err(cannot(format!("{} cannot be written", path.display())))?;
        }
        Ok(Self {
            identity,
            _file: file,
        })
    }
}

/// What the file says. An empty one says nothing, and neither does one that was cut off by a loss
/// of power.
fn read(file: &mut File) -> io::Result<Identity> {
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).unwrap_or_else(|_| Identity::default()))
}

fn write(file: &mut File, identity: &Identity) -> io::Result<()> {
    let text = serde_json::to_string(identity)? + "\n";
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Files that only this user may read: a token is a secret.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// A folder that only this user may look into, if it is not there yet.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::other("the operating system gave no random numbers"))?;
    Ok(bytes)
}

/// A UUID, version 4 (RFC 9562 §5.4), as PeerServer gives them.
fn uuid() -> Result<String, Failure> {
    let uuid = uuid::Builder::from_random_bytes(random::<16>()?).into_uuid();
    Ok(uuid.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starts_again_is_the_same_peer() {
        let folder = std::env::temp_dir().join(format!("peer-state-{}", std::process::id()));
        let open = |id, token| State::open(&folder, id, token).map_err(|failure| failure.report());
        let first = open(None, None).expect("it is made");
        assert_eq!(first.identity.id.len(), 36);
        assert!(open(None, None).is_err(), "one process at a time");
        let identity = first.identity.clone();
        drop(first);
        let again = open(None, None).expect("it is there");
        assert_eq!(again.identity.id, identity.id);
        assert_eq!(again.identity.token, identity.token);
        drop(again);
        let named = open(Some("me"), None).expect("it is there");
        assert_eq!(named.identity.token, identity.token);
        drop(named);
        assert_eq!(open(None, None).expect("it is there").identity.id, "me");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| {
                fs::metadata(path)
                    .expect("it is there")
                    .permissions()
                    .mode()
            };
            assert_eq!(mode(&folder) & 0o777, 0o700);
            assert_eq!(mode(&folder.join(FILE)) & 0o777, 0o600);
        }
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
