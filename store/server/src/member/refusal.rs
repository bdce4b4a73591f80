//! A directory that is refused for good, in a process that was started for an operator (`--initial-cluster-state=await` with an Admin
//! listener): instead of ending, to be started again and again on the same directory, the process stays and tells why. Raft does not
//! run, nothing is served but the pages of the metrics listener and `Admin.MemberState`, and nothing of the directory is touched.

use std::pin::Pin;
use std::sync::Arc;

use super::serve::Early;
use super::{Admission, Error};
use crate::config::{Config, Founding};
use crate::logging;

/// Whether somebody who can act on it will ask for this refusal.
fn is_asked_for(error: &Error, config: &Config) -> bool {
    error.is_refusal() && config.admin.is_some() && matches!(config.founding, Founding::Await)
}

/// Tells a refusal of a directory that could not even be opened, until `stop`.
///
/// # Errors
/// The given one, when nobody would ask for it; or what keeps the listeners from being served.
pub async fn tell(
    error: Error,
    config: &Config,
    log: logging::Handle,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Error> {
    if !is_asked_for(&error, config) {
        return Err(error);
    }
    let admission = Arc::new(Admission::new(None, config, log)?);
    // Nobody may see the time between as another phase.
    admission.refuse(&error);
    let early = Early::start(config, &admission).await?;
    wait(&error, early, stop).await;
    Ok(())
}

/// Tells a refusal of what an open directory holds, until `stop`.
///
/// # Errors
/// The given one, when nobody would ask for it.
pub async fn hold(
    error: Error,
    config: &Config,
    admission: &Admission,
    early: Early,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Error> {
    if !is_asked_for(&error, config) {
        return Err(error);
    }
    admission.refuse(&error);
    wait(&error, early, stop).await;
    Ok(())
}

async fn wait(error: &Error, early: Early, stop: Pin<&mut impl Future<Output = ()>>) {
    tracing::error!(%error, "the data directory is refused; raft does not run, and Admin.MemberState tells why");
    stop.await;
    early.stop().await;
}
