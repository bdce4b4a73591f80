//! Settings of a server: etcd's flags and environment, parsed once into valid values; nothing behind this module sees a flag.
//!
//! `table` holds every flag, `parse` reads them, `Config::build` checks what they say together.

mod build;
mod error;
mod help;
mod parse;
mod planes;
mod table;
pub mod tls;
pub mod url;
pub mod value;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use build::check_timers;
pub use error::Error;
pub use help::{USAGE, flags_doc, help};
pub use url::Url;

use parse::Asked;

/// What the process is asked to do.
#[derive(Debug)]
pub enum Request {
    Serve(Box<Config>),
    /// Print this on standard output and exit with 0.
    Print(String),
}

/// Everything a server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name for people; also this member's name in `initial_cluster`.
    pub name: String,
    pub data_dir: PathBuf,
    /// `None`: inside the data directory.
    pub wal_dir: Option<PathBuf>,
    pub listen_peer_urls: Vec<Url>,
    pub listen_client_urls: Vec<Url>,
    /// Not empty: HTTP is served here and no longer on `listen_client_urls`.
    pub listen_client_http_urls: Vec<Url>,
    pub listen_metrics_urls: Vec<Url>,
    pub advertise_peer_urls: Vec<Url>,
    pub advertise_client_urls: Vec<Url>,
    pub founding: Founding,
    pub heartbeat: Duration,
    /// At least five heartbeats, below 50 s.
    pub election: Duration,
    /// Applied entries that stay in the log for followers; whole segments are cut, so usually more stay.
    pub snapshot_catchup_entries: u64,
    /// `None`: no limit.
    pub quota_bytes: Option<u64>,
    pub max_txn_ops: u32,
    pub max_request_bytes: u32,
    /// What clients and peers may make this member hold in memory; 0 = by the machine.
    pub memory_budget_bytes: usize,
    pub max_concurrent_streams: u32,
    pub max_learners: u32,
    pub pre_vote: bool,
    pub strict_reconfig_check: bool,
    pub keepalive: Keepalive,
    pub socket_reuse_port: bool,
    /// `None`: the client listeners speak without TLS.
    pub client_tls: Option<tls::Files>,
    /// `None`: members talk without TLS.
    pub peer_tls: Option<tls::Files>,
    /// `None`: no admin listener.
    pub admin: Option<Admin>,
    pub log: Log,
    /// An apply that takes longer is logged.
    pub warning_apply: Duration,
    /// A unary request that takes longer is logged.
    pub warning_unary: Duration,
    /// Whether each gRPC method gets a histogram.
    pub metrics_extensive: bool,
    /// Interval of progress messages to idle watches.
    pub watch_progress_interval: Duration,
    /// Bytes of the log that stay for followers; `None` = nothing beside the entries.
    pub wal_keep_bytes: Option<u64>,
    /// How fast a follower is sent a snapshot, and at a quarter of it what it missed of the log; `None` = as fast as it goes.
    pub catch_up_bytes_per_second: Option<u64>,
    /// Rest between two passes of the scrub; `None` = it never runs.
    pub scrub_interval: Option<Duration>,
    /// Syncs of the log are left out; a power cut loses data.
    pub unsafe_no_fsync: bool,
    /// Start as the only member of the cluster, whoever else is in it.
    pub force_new_cluster: bool,
    /// To be logged once the log runs.
    pub warnings: Vec<Warning>,
    /// Variables of the environment that were used.
    pub variables: Vec<String>,
}

/// What a server with an empty directory does; without meaning afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Founding {
    /// Found the cluster of these members.
    New { members: Vec<InitialMember>, token: String },
    /// Join the cluster of these members, to which this one was added.
    Existing { members: Vec<InitialMember>, token: String },
    /// Wait for `Admin.Found` or `Admin.Admit`.
    Await,
}

/// A member of `--initial-cluster`; sorted by name, URLs sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMember {
    pub name: String,
    pub peer_urls: Vec<Url>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which a client is pinged; `None`: never.
    pub interval: Option<Duration>,
    /// Wait for the answer before the connection is closed.
    pub timeout: Duration,
}

/// The operator's listener.
#[derive(Debug, Clone)]
pub struct Admin {
    pub urls: Vec<Url>,
    pub access: AdminAccess,
    /// Whose pod this is; `None`: nobody said, and no directory waits for an adoption.
    pub owner: Option<Owner>,
}

/// The custom resource that a member belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub uid: String,
    /// "namespace/name".
    pub name: String,
}

#[derive(Debug, Clone)]
pub enum AdminAccess {
    /// Only certificates of this CA are let in.
    MutualTls(tls::Files),
    /// Only this token is let in; `tls` encrypts when the URLs are https.
    Token { file: PathBuf, tls: Option<tls::Files> },
}

impl AdminAccess {
    /// TLS of the listener; `None` without.
    pub fn tls(&self) -> Option<&tls::Files> {
        match self {
            AdminAccess::MutualTls(files) => Some(files),
            AdminAccess::Token { tls, .. } => tls.as_ref(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Never empty.
    pub outputs: Vec<LogOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Console,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

impl std::str::FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Ok(match text {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            "panic" => LogLevel::Panic,
            "fatal" => LogLevel::Fatal,
            _ => return Err(UnknownLevel(text.to_owned())),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized level: {0:?}; levels are debug, info, warn, error, panic and fatal")]
pub struct UnknownLevel(pub String);

/// Something that is odd but does not keep the server from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    UnknownVariable {
        variable: String,
    },
    Inert {
        name: String,
        reason: &'static str,
    },
    /// It is set, and something else does here what it does in etcd.
    Replaced {
        name: String,
        by: &'static str,
    },
    /// TLS files were given but a URL does not use them.
    TlsUnused {
        plane: &'static str,
        url: Url,
    },
    /// Files were given where self-signed ones were asked for.
    SelfSignedIgnored {
        plane: &'static str,
    },
    DefaultName,
    LargeRequests {
        bytes: u32,
    },
    NoFsync,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownVariable { variable } => write!(f, "unrecognized environment variable {variable}"),
            Warning::Inert { name, reason } => write!(f, "--{name} does nothing: {reason}"),
            Warning::Replaced { name, by } => write!(f, "--{name} is accepted for etcd's sake and has no effect: {by}"),
            Warning::TlsUnused { plane, url } => {
                write!(
                    f,
                    "scheme of {plane} url {url} is http or unix while key and cert files are present; ignoring key and cert files"
                )
            }
            Warning::SelfSignedIgnored { plane } => write!(f, "ignoring {plane} auto TLS since certs given"),
            Warning::DefaultName => f.write_str("this member has the default name; set --name to tell members apart"),
            Warning::LargeRequests { bytes } => {
                write!(f, "--max-request-bytes is {bytes}: requests above 10 MiB delay everything behind them")
            }
            Warning::NoFsync => f.write_str("--unsafe-no-fsync is set: a power cut loses acknowledged writes"),
        }
    }
}

/// Reads the process's arguments (without its name) and environment.
///
/// # Errors
/// What is wrong, for a person; see [`Error::exit_code`].
pub fn read(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Request, Error> {
    Ok(match parse::parse(arguments, environment)? {
        Asked::Serve(values) => Request::Serve(Box::new(Config::build(values)?)),
        Asked::Help => Request::Print(help()),
        Asked::Version => Request::Print(crate::version::text()),
        Asked::FlagsDoc => Request::Print(flags_doc()),
    })
}

#[cfg(test)]
mod tests;
