//! Where master keys come from: a file, the environment, or a command.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::keys::{InvalidMasterKey, MasterKeys};

/// Longest text that holds master keys.
const MOST_BYTES: u64 = 64 * 1024;

/// A command says its keys within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where master keys come from.
#[derive(Clone, Debug, Default)]
pub enum MasterKeySource {
    /// Nowhere: no channel can be encrypted, and none that is can be read.
    #[default]
    None,
    /// A file.
    File(PathBuf),
    /// What a command, run by `sh -c`, writes to its standard output.
    Command(String),
    /// The text itself.
    Text(MasterKeyText),
}

/// A text that holds master keys. Wiped when it is let go; shows nothing in debug output.
#[derive(Clone)]
pub struct MasterKeyText(Zeroizing<String>);

impl MasterKeyText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for MasterKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeyText(…)")
    }
}

/// Why a source gave no master keys. Nothing of a key is part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterKeyError {
    /// The file can't be read.
    #[error("the master key file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The command can't be run, or its output can't be read.
    #[error("the master key command: {0}")]
    Command(std::io::Error),
    /// The command ended with an error.
    #[error("the master key command ended with {0}")]
    Ended(std::process::ExitStatus),
    /// The command did not end in time.
    #[error("the master key command did not end within {} s", .0.as_secs())]
    Late(Duration),
    /// The text is too long.
    #[error("{from}: more than {limit} bytes")]
    TooLong {
        /// Where it came from.
        from: String,
        /// How many there may be.
        limit: u64,
    },
    /// The text holds no keys.
    #[error("{from}: {source}")]
    Invalid {
        /// Where it came from.
        from: String,
        /// What is wrong.
        source: InvalidMasterKey,
    },
}

impl MasterKeySource {
    /// The master keys; none where there is no source.
    ///
    /// # Errors
    /// [`MasterKeyError`].
    pub fn load(&self) -> Result<MasterKeys, MasterKeyError> {
        let (from, text) = match self {
            Self::None => return Ok(MasterKeys::default()),
            Self::File(path) => {
                let from = format!("the master key file {}", path.display());
                (from, read_file(path)?)
            }
            Self::Command(command) => {
                ("the master key command".to_owned(), ask(command, PATIENCE)?)
            }
            Self::Text(text) => ("NPAYLOAD_MASTER_KEY".to_owned(), text.0.clone()),
        };
        if text.len() as u64 > MOST_BYTES {
            let limit = MOST_BYTES;
            return Err(MasterKeyError::TooLong { from, limit });
        }
        MasterKeys::parse(&text).map_err(|source| MasterKeyError::Invalid { from, source })
    }

    /// The master keys, or why there are none: a broker starts without them.
    #[must_use]
    pub fn load_or_go_on(&self) -> MasterKeys {
        self.load().unwrap_or_else(|error| {
            tracing::error!(%error, "there is no master key: encrypted channels can't be used");
            MasterKeys::unavailable(error.to_string())
        })
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, MasterKeyError> {
    let failed = |source| MasterKeyError::File {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    warn_of_others(path, &file);
    read_text(file).map_err(failed)
}

#[cfg(unix)]
fn warn_of_others(path: &Path, file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = file.metadata() {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let (path, mode) = (path.display(), format!("{mode:o}"));
            tracing::warn!(%path, mode, "others than its owner may use the master key file");
        }
    }
}

#[cfg(not(unix))]
fn warn_of_others(_: &Path, _: &std::fs::File) {}

/// The text, and one byte more than may be there, where there is one.
fn read_text(from: impl Read) -> std::io::Result<Zeroizing<String>> {
    // With its room from the start, so that no copy is left behind as it grows.
    let room = usize::try_from(MOST_BYTES + 1).expect("a small constant");
    let mut text = Zeroizing::new(String::with_capacity(room));
    from.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// What a command writes to its standard output. Its errors go to this process's.
fn ask(command: &str, patience: Duration) -> Result<Zeroizing<String>, MasterKeyError> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(MasterKeyError::Command)?;
    let output = child.stdout.take();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let text = match output {
            Some(output) => read_text(output),
            None => Ok(Zeroizing::default()),
        };
        // Nobody listens any more where it took too long.
        let _ = said.send(text);
    });
    let Ok(text) = heard.recv_timeout(patience) else {
        let killed = child.kill().and_then(|()| child.wait());
        if let Err(error) = killed {
            tracing::debug!(%error, "a master key command could not be ended");
        }
        return Err(MasterKeyError::Late(patience));
    };
    let text = text.map_err(MasterKeyError::Command)?;
    if text.len() as u64 > MOST_BYTES {
        // It may write for ever: nobody waits for its end.
        let _ = child.kill();
    }
    let status = child.wait().map_err(MasterKeyError::Command)?;
    if text.len() as u64 <= MOST_BYTES && !status.success() {
        return Err(MasterKeyError::Ended(status));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "6b65796b65796b65796b65796b65796b65796b65796b65796b65796b65796b65";

    fn told(source: MasterKeySource) -> String {
        match source.load() {
            Ok(keys) => format!("{} keys", keys.iter().count()),
            Err(error) => error.to_string(),
        }
    }

    fn of_command(text: &str) -> MasterKeySource {
        MasterKeySource::Command(text.to_owned())
    }

    #[test]
    fn keys_come_from_a_file_a_command_or_a_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{KEY}\n")).unwrap();
        assert_eq!(told(MasterKeySource::File(path.clone())), "1 keys");
        let read = format!("cat {}", path.display());
        assert_eq!(told(of_command(&read)), "1 keys");
        let text = MasterKeyText::new(KEY.to_owned());
        let source = MasterKeySource::Text(text);
        assert!(!format!("{source:?}").contains("6b65"));
        assert_eq!(told(source), "1 keys");
        assert_eq!(told(MasterKeySource::None), "0 keys");
    }

    #[test]
    fn a_source_that_gives_none_says_why_and_nothing_of_a_key() {
        let missing = MasterKeySource::File("/nowhere/key".into());
        let error = told(missing.clone());
        assert!(error.contains("/nowhere/key: No such file"), "{error}");
        let keys = missing.load_or_go_on();
        assert!(keys.first().is_none());
        assert_eq!(keys.trouble(), Some(error.as_str()));
        for (command, message) in [
            ("exit 3", "the master key command ended with exit status: 3"),
            (
                "true",
                "the master key command: there is no master key in it",
            ),
            ("echo 5ec2e7", "line 1 has 6 characters"),
            ("yes", "the master key command: more than 65536 bytes"),
        ] {
            let error = told(of_command(command));
            assert!(
                error.contains(message) && !error.contains("5ec2"),
                "{error}"
            );
        }
        let late = ask("sleep 30", Duration::from_millis(20)).unwrap_err();
        assert!(late.to_string().contains("did not end within"), "{late}");
    }
}
