//! Why a command ends without success: the text after `Error: ` and the exit code, both etcdctl's.

use tonic::Status;

use crate::go::number::NumberError;
use crate::{client, flags, txn};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments do not fit the command.
    #[error("{0}")]
    Arguments(&'static str),
    #[error("bad {what} ({source}), expecting ID in Hex")]
    BadId { what: &'static str, source: NumberError },
    #[error("bad TTL ({0})")]
    BadTtl(NumberError),
    #[error("{name} is empty but got {end_name}={end:?}")]
    RangeEndWithoutKey { name: String, end_name: String, end: String },

    /// A flag is wrong; `usage` is what the command takes.
    #[error("{source}\n{usage}")]
    Flag { source: flags::Error, usage: String },
    /// A flag is wrong in a line that was read, where usage helps nobody.
    #[error("{0}")]
    FlagInLine(flags::Error),
    #[error("unknown command {name:?} for {parent:?}\n{hint}Run '{parent} --help' for usage.")]
    UnknownCommand { name: String, parent: String, hint: String },
    #[error(
        "command {name:?} is not supported by this version of quoratectl: use etcdctl, which speaks to Quorate too"
    )]
    UnsupportedCommand { name: String },
    #[error("{0}")]
    Number(NumberError),
    #[error("environment variable {name}: {source}")]
    Environment { name: String, source: flags::Error },
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag \
         (either unset environment variable or disable flag)"
    )]
    EnvironmentShadowed { variable: String },
    #[error("{0}")]
    PeerUrl(String),

    #[error("unsupported output format")]
    FormatUnknown,
    #[error("{0} not supported as output format")]
    FormatUnsupported(&'static str),
    #[error("bad sort order {0}")]
    SortOrder(String),
    #[error("bad sort target {0}")]
    SortTarget(String),
    #[error("unknown consistency flag {0:?}")]
    Consistency(String),
    #[error("get{which}(={min}) > get{}(={max})", .which.replace("Min", "Max"))]
    RevisionBounds { which: &'static str, min: i64, max: i64 },

    #[error("{0}")]
    Txn(txn::Error),
    #[error("error reading watch request line: EOF")]
    WatchInputEnded,
    #[error("watch is canceled by the server")]
    WatchCanceled,

    #[error("{}", explain(.0))]
    Rpc(Status),
    #[error("failed to {what} lease ({source})")]
    Lease { what: &'static str, source: Box<Error> },
    /// A lease that `keep-alive --once` did not find.
    #[error("etcdserver: requested lease not found")]
    LeaseNotKept,
    #[error("failed to fetch endpoints from etcd cluster member list: {0}")]
    ClusterEndpoints(Box<Error>),
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    #[error("unhealthy cluster")]
    Unhealthy,
    #[error("Active Alarm(s): {0}")]
    ActiveAlarms(String),
    #[error("{0}")]
    Client(client::Error),
    #[error("cannot read or write: {0}")]
    Io(#[from] std::io::Error),

    /// The failure was already printed.
    #[error("failed")]
    Reported,
    /// SIGINT ended the command.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The process's exit code: 1 in general, 2 no connection, 3 wrong input on stdin, 4 a value or format that the
    /// command cannot do, 5 a watch that the server ended, 6 input and output, 128 wrong arguments, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        use Error as E;
        match self {
            E::Arguments(_) | E::BadId { .. } | E::BadTtl(_) | E::RangeEndWithoutKey { .. } | E::FlagInLine(_) => 128,
            E::Client(error) => error.exit_code(),
            E::LeaseNotKept => 2,
            E::Txn(_) | E::WatchInputEnded => 3,
            E::FormatUnknown
            | E::FormatUnsupported(_)
            | E::SortOrder(_)
            | E::SortTarget(_)
            | E::Consistency(_)
            | E::RevisionBounds { .. } => 4,
            E::WatchCanceled => 5,
            E::Io(_) => 6,
            E::Interrupted => 130,
            E::Flag { .. }
            | E::UnknownCommand { .. }
            | E::UnsupportedCommand { .. }
            | E::Number(_)
            | E::Environment { .. }
            | E::EnvironmentShadowed { .. }
            | E::PeerUrl(_)
            | E::Rpc(_)
            | E::Lease { .. }
            | E::ClusterEndpoints(_)
            | E::DeadlineExceeded
            | E::Unhealthy
            | E::ActiveAlarms(_)
            | E::Reported => 1,
        }
    }

    /// Whether the reader still has to be told.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Reported | Error::Interrupted)
    }
}

/// The server's text; for a request that failed on the way, the reason at the bottom of it as well.
fn explain(status: &Status) -> String {
    let message = status.message();
    let reason = std::error::Error::source(status).map(client::connector::innermost);
    match reason.filter(|reason| reason != message) {
        Some(reason) => format!("{message}: {reason}"),
        None => message.to_owned(),
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Rpc(status)
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Error {
        match error {
            client::Error::DeadlineExceeded => Error::DeadlineExceeded,
            client::Error::Authenticate(status) => Error::Rpc(status),
            other => Error::Client(other),
        }
    }
}
