//! The first key of a broker that asks everybody for one: with it all others can be made.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::{self, Caller};
use super::commit::is_over;
use super::shared::{Shared, TaskWake};
use super::{answer, clock};
use crate::access::{KeyKind, Limits, Operation, Scope};
use crate::broker::{Wait, Wake};
use crate::protocol::access::{AccessRequest, AccessResponse, KeyCreate};
use crate::protocol::{Response, WireError};
use crate::storage::Outcome;
use crate::types::OrgId;

/// Why a broker that asks everybody for a key has none to let anybody in with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirstKeyError {
    /// There is none, and nobody said where to write one.
    #[error(
        "keys are required and there is none that could make others: say where to write a first \
         one with --admin-key-file, or start once without --require-keys and make one"
    )]
    NoKey,
    /// The file can't be made.
    #[error("writing the first API key to {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The broker refused.
    #[error("making the first API key: {0}")]
    Refused(WireError),
}

/// Makes a first key where keys are required, or a file for one is named, and there is no key that
/// could make others.
///
/// # Errors
/// [`FirstKeyError`].
pub(super) async fn make(shared: &Arc<Shared>) -> Result<(), FirstKeyError> {
    if has_administrator(shared) {
        return Ok(());
    }
    let Some(path) = shared.options.admin_key_file.clone() else {
        return match shared.options.require_keys {
            true => Err(FirstKeyError::NoKey),
            false => Ok(()),
        };
    };
    let failed = |source| FirstKeyError::File {
        path: path.clone(),
        source,
    };
    // Before the key, so that there is no key whose text nobody has.
    let mut file = create(&path).map_err(failed)?;
    let looking = shared.clone();
    let request = AccessRequest::KeyCreate(KeyCreate {
        org: None,
        name: "first administrator".to_owned(),
        kind: KeyKind::Live,
        scopes: vec![Scope::all()],
        limits: Limits::default(),
        expires_at: None,
        certificate: None,
    });
    let made = shared
        .on_disk(move || access::carry_out(&looking, &Caller::LOCAL, &request))
        .await;
    let (response, wait) =
        made.map_err(|refusal| FirstKeyError::Refused(answer::refused(&refusal.error)))?;
    if let Some(wait) = wait {
        durable(shared, wait).await?;
    }
    if let Response::Access(answer) = response
        && let AccessResponse::KeyCreate(made) = *answer
    {
        let text = zeroize::Zeroizing::new(format!("{}\n", made.secret.0.expose()));
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        tracing::info!(key = %made.key.id, file = %path.display(), "a first API key was made");
    }
    Ok(())
}

/// Whether somebody can make keys for all organisations.
fn has_administrator(shared: &Shared) -> bool {
    let broker = shared.broker();
    let now = clock::now();
    broker.access().keys(OrgId::DEFAULT).any(|key| {
        let mut scopes = key.scopes.iter();
        key.check(now).is_ok() && scopes.any(|scope| scope.allows(Operation::AccessAdmin, None))
    })
}

/// A new file that only its owner may read.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Waits until an entry is synced.
async fn durable(shared: &Arc<Shared>, wait: Wait) -> Result<(), FirstKeyError> {
    shared.wake_committer();
    loop {
        let waker = TaskWake::new();
        let outcome = {
            let mut broker = shared.broker();
            let waiter: Arc<dyn Wake> = waker.clone();
            broker.wake_after_round(waiter);
            broker.outcome(wait)
        };
        match outcome {
            Outcome::Failed(error) => {
                return Err(FirstKeyError::Refused(answer::never_acknowledged(&error)));
            }
            outcome if is_over(&outcome) => return Ok(()),
            _ => waker.0.notified().await,
        }
    }
}
