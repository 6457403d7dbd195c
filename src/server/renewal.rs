//! New certificates without a restart: on a signal, and when the files have changed.

use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::Shared;
use crate::tls::{Reloaded, ServerTls};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// From this long before its end on, a certificate is warned of once a day.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Looks at the files until the server stops.
pub(super) async fn watch(shared: Arc<Shared>, tls: Arc<ServerTls>) {
    // A new certificate may lie there a moment before its key: what is bad is told when it is still
    // bad at the next look, and then once.
    let (mut seen, mut told) = (None, None);
    let mut warned_day = None;
    loop {
        warn_of_the_end(&tls, &mut warned_day);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.stop.cancelled() => return,
        }
        match look(&tls).await {
            Ok(_) => (seen, told) = (None, None),
            Err(failure) if told.as_ref() == Some(&failure) => {}
            Err(failure) if seen.as_ref() == Some(&failure) => {
                complain(&failure);
                told = Some(failure);
            }
            Err(failure) => seen = Some(failure),
        }
    }
}

/// Looks at the files now; tells what came of it in the log, and returns whether they are good.
pub(super) async fn now(tls: &Arc<ServerTls>) -> bool {
    match look(tls).await {
        Ok(Reloaded::Unchanged) => {
            tracing::info!("the files of TLS are what they were");
            true
        }
        Ok(Reloaded::Changed(_)) => true,
        Err(failure) => {
            complain(&failure);
            false
        }
    }
}

async fn look(tls: &Arc<ServerTls>) -> Result<Reloaded, String> {
    let tls = tls.clone();
    let looked = tokio::task::spawn_blocking(move || tls.reload(clock::now())).await;
    let reloaded = match looked {
        Ok(Ok(reloaded)) => reloaded,
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            return Err(
                source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
            );
        }
        Err(error) => return Err(error.to_string()),
    };
    if let Reloaded::Changed(certificate) = &reloaded {
        tracing::info!(%certificate, "new connections get the new certificate");
    }
    Ok(reloaded)
}

fn complain(failure: &str) {
    tracing::error!("the new files of TLS are not taken, the old ones stay in use: {failure}");
}

fn warn_of_the_end(tls: &ServerTls, warned_day: &mut Option<i64>) {
    let certificate = tls.certificate();
    let soon = i64::try_from(SOON.as_millis()).unwrap_or(i64::MAX);
    if !certificate.is_expired(clock::now().saturating_add_ms(soon)) {
        return;
    }
    let day = clock::now().0 / 86_400_000;
    if warned_day.replace(day) != Some(day) {
        tracing::warn!(%certificate, "the certificate ends soon, or has ended");
    }
}
