//! The life of a member: open the directory, found or wait to be admitted, run, serve, stop. Everything is wired together here and
//! nowhere else.

mod admission;
mod join;
mod open;
mod ready;
mod recover;
mod recovery;
mod refusal;
mod room;
mod serve;

pub use admission::{Admission, Phase, Planes, Refused, unix_seconds};
pub use open::{Opened, Reader, database_options, open};
pub use recovery::INCIDENT_BYTES_MAX;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Founding};
use crate::directory::{self, Directory};
use crate::driver::{Ended, Fatal};
use crate::{backend, listen, logging, tls};

/// Why a member cannot start or go on; each text names file or flag and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Directory(#[from] directory::Error),
    #[error(transparent)]
    Start(#[from] crate::snapshot::StartError),
    #[error(transparent)]
    Store(#[from] quorate_core::backend::Error),
    #[error(transparent)]
    Wal(#[from] crate::wal::Error),
    #[error(transparent)]
    State(#[from] quorate_core::apply::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Listen(#[from] listen::Error),
    #[error("cannot listen for peers on {url}: {source}")]
    PeerListen { url: String, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signal(std::io::Error),
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error(
        "cannot learn the cluster from the members of --initial-cluster: {failures}; start this member while they run"
    )]
    NoPeer { failures: String },
    #[error(
        "cluster {cluster:x} has no member with the peer URLs {urls}: add it first (`quoratectl member add`), or correct \
         --initial-advertise-peer-urls"
    )]
    NotAdded { urls: String, cluster: u64 },
    #[error("the admin token file {}: {source}", .path.display())]
    Token { path: PathBuf, source: std::io::Error },
    #[error("this member cannot go on alone: {0}")]
    Recover(#[from] recover::Error),
    #[error("this member stopped: {0}")]
    Fatal(#[from] Fatal),
    #[error("{0}")]
    Panicked(&'static str),
}

impl Error {
    /// Whether opening what is on disk failed only because the disk is full.
    fn is_no_space(&self) -> bool {
        match self {
            Error::Directory(error) => error.is_no_space(),
            Error::Start(error) => error.is_no_space(),
            Error::Wal(error) => error.opening_lacks_space(),
            Error::Recover(error) => error.is_no_space(),
            _ => false,
        }
    }

    /// Whether what the directory holds is refused for good: a start after this one would end in the same way.
    fn is_refusal(&self) -> bool {
        match self {
            Error::Directory(error) => error.is_refusal(),
            Error::Start(error) => error.is_refusal(),
            Error::Store(error) => backend::is_corruption(&error.reason),
            Error::Wal(error) => error.is_refusal(),
            Error::Recover(error) => error.is_refusal(),
            Error::State(error) => error.store_failure().is_none_or(|error| backend::is_corruption(&error.reason)),
            _ => false,
        }
    }
}

/// Runs a member until it is told to stop, is removed, or fails.
///
/// # Errors
/// Why it cannot start or go on.
pub async fn run(config: Config, log: logging::Handle) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "terminated", "received signal; shutting down"),
            _ = interrupt.recv() => tracing::info!(signal = "interrupt", "received signal; shutting down"),
        }
    };
    tokio::pin!(stop);
    let open_directory = || Ok(Directory::open(&config.data_dir, config.wal_dir.as_deref())?);
    let opened = tokio::select! {
        opened = room::wait_for_room(open_directory, |_| {}) => opened,
        () = &mut stop => return Ok(()),
    };
    let directory = match opened {
        Ok(directory) => directory,
        Err(error) => return refusal::tell(error, &config, log, stop).await,
    };
    let admission = Arc::new(Admission::new(Some(directory.clone()), &config, log)?);
    let early = serve::Early::start(&config, &admission).await?;
    if directory.member().identity.is_none() {
        config.check_founding()?;
    }
    if let Founding::Existing { members, .. } = &config.founding
        && directory.member().identity.is_none()
    {
        join::join(&config, members, admission.planes().peer.as_ref(), &directory).await?;
    }
    found_by_flags(&config, &directory)?;
    tokio::select! {
        () = admission.bound() => {}
        () = &mut stop => {
            early.stop().await;
            return Ok(());
        }
    }
    let started = tokio::select! {
        started = start(&config, &directory, &admission, &early) => started,
        () = &mut stop => {
            early.stop().await;
            return Ok(());
        }
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => return refusal::hold(error, &config, &admission, early, stop).await,
    };
    tokio::select! {
        () = running.ended() => {}
        () = admission.recovers() => {
            tracing::warn!("this process ends, to be started anew: then this member is made the only one of a new cluster, as was asked for");
        }
        () = &mut stop => {}
    }
    let ended = running.stop().await?;
    early.stop().await;
    match ended {
        Ended::Stopped => Ok(()),
        Ended::Removed => admission.bury().map_err(Error::from),
        Ended::Failed(fatal) => Err(fatal.into()),
    }
}

/// Opens what the directory holds, once the disk has room for it, and runs raft on it.
async fn start(
    config: &Config,
    directory: &Directory,
    admission: &Arc<Admission>,
    early: &serve::Early,
) -> Result<serve::Running, Error> {
    let full = &early.metrics().disk.full;
    let opened = room::wait_for_room(|| open(config, directory), |is_full| full.set(i64::from(is_full))).await?;
    serve::Running::start(config, opened, admission, early.metrics().clone()).await
}

/// Binds an empty directory to the cluster that the flags describe; a directory with data ignores them but for the check that they
/// mean the same cluster.
fn found_by_flags(config: &Config, directory: &Directory) -> Result<(), Error> {
    let Founding::New { members, token } = &config.founding else { return Ok(()) };
    if directory.member().identity.is_some() {
        return Ok(());
    }
    let named: Vec<_> = members
        .iter()
        .map(|member| (member.name.clone(), member.peer_urls.iter().map(ToString::to_string).collect(), String::new()))
        .collect();
    admission::bind_founded(directory, &named, token, &config.name, None)?;
    Ok(())
}
