//! Why a data directory cannot be used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Whether an error says that the disk, or the user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What to do about a file system that stopped taking writes under a running member.
pub const MADE_READ_ONLY: &str = "the file system became read-only, which the kernel does when it meets an error on it (its log says which): \
                                  repair it, mount it again, then start this member";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} is not a directory: set --data-dir to one", .path.display())]
    NotADirectory { path: PathBuf },
    #[error("{} is used by another process{holder}: two members must not share a directory", .path.display())]
    Locked {
        path: PathBuf,
        /// " (pid N)", or empty when unknown.
        holder: String,
    },
    #[error("{} was written by a later version (format {found}, this one reads up to {known}): start that version", .path.display())]
    Future { path: PathBuf, found: u32, known: u32 },
    #[error("{} is malformed: {reason}; restore the file, or rebuild this member on an empty directory", .path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error(
        "{} has a database but no member.json: restore the file, or move the directory away and rebuild this member",
        .path.display()
    )]
    MemberMissing { path: PathBuf },
    #[error(
        "{} holds an etcd data directory: choose another --data-dir (quoratectl migrate imports etcd's data)",
        .path.display()
    )]
    Etcd { path: PathBuf },
    #[error("{} is not empty and not a quorate directory (it holds {found:?}): choose an empty --data-dir", .path.display())]
    Foreign { path: PathBuf, found: String },
    #[error(
        "{} belongs to cluster {found:x}, not to {expected:x}: check --data-dir and --initial-cluster-token, or move the \
         directory away to start empty",
        .path.display()
    )]
    OtherCluster { path: PathBuf, expected: u64, found: u64 },
    #[error("{} belongs to member {found:x}, not to {expected:x}: check --data-dir and --name", .path.display())]
    OtherMember { path: PathBuf, expected: u64, found: u64 },
    #[error(
        "member {member_id:x} was removed from cluster {cluster_id:x}; its directory {} takes no part in any cluster again: move \
         it away and join with an empty one",
        .path.display()
    )]
    Removed { path: PathBuf, cluster_id: u64, member_id: u64 },
    #[error("{} holds no write-ahead log although one was begun: check --wal-dir, or rebuild this member", .path.display())]
    LogLost { path: PathBuf },
    #[error(
        "{} holds the write-ahead log of another data directory ({segment}), and {} ({own}) has begun none: check --wal-dir \
         and --data-dir, or give this member an empty --wal-dir",
        .log.display(), .path.display()
    )]
    ForeignLog {
        log: PathBuf,
        /// Name of a segment, and what its start says.
        segment: String,
        path: PathBuf,
        /// What is known of the data directory.
        own: String,
    },
    #[error("{} belongs to a member that was not removed from its cluster: remove the member first", .path.display())]
    NotRemoved { path: PathBuf },
    #[error("the directory is owned by {owner:?}, not by {given:?}")]
    OtherOwner { owner: String, given: String },
    #[error(
        "this member is to be recovered as cluster {cluster_id:x} (incident {incident:?}), which lifts its fence: wait until it is started anew"
    )]
    Recovering { cluster_id: u64, incident: String },
    #[error("generation {given} is not above {current}, which is in force")]
    Stale { given: u64, current: u64 },
    #[error(
        "{} cannot be renamed: {source}; a data directory that is itself a mount point cannot be set aside, use a directory below it",
        .path.display()
    )]
    SetAside { path: PathBuf, source: io::Error },
    #[error(
        "{operation} of {} is not permitted for uid {uid}, gid {gid}: {source}; give the directory to that uid (chown), or, in \
         Kubernetes, set a fsGroup that the volume honours",
        .path.display()
    )]
    Permission { operation: &'static str, path: PathBuf, uid: u32, gid: u32, source: io::Error },
    #[error("{} is on a read-only file system ({operation}): remount it, or move the member to another disk", .path.display())]
    ReadOnly { operation: &'static str, path: PathBuf },
    #[error("no space for the {operation} of {}: {source}; free space or grow the volume", .path.display())]
    NoSpace { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{operation} of {} failed: {source}; see to the disk, then start again", .path.display())]
    Disk { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{operation} of {} failed: {source}", .path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// Whether the same call may be repeated after space was made.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    /// Whether what the directory holds is refused for good: no other try, room or permission changes it, but somebody's hand.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Future { .. }
            | Error::Malformed { .. }
            | Error::MemberMissing { .. }
            | Error::Etcd { .. }
            | Error::Foreign { .. }
            | Error::OtherCluster { .. }
            | Error::OtherMember { .. }
            | Error::Removed { .. }
            | Error::LogLost { .. }
            | Error::ForeignLog { .. } => true,
            // The flag is wrong, another process has it, a call was wrong, or the system may give way.
            Error::NotADirectory { .. }
            | Error::Locked { .. }
            | Error::NotRemoved { .. }
            | Error::OtherOwner { .. }
            | Error::Stale { .. }
            | Error::Recovering { .. }
            | Error::SetAside { .. }
            | Error::Permission { .. }
            | Error::ReadOnly { .. }
            | Error::NoSpace { .. }
            | Error::Disk { .. }
            | Error::Io { .. } => false,
        }
    }

    /// Makes an error of a failed system call, with the remedy that fits its kind.
    pub(super) fn writing(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
                    Error::Permission { operation, path, uid, gid, source }
                }
                io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { operation, path },
                _ if is_full(&source) => Error::NoSpace { operation, path, source },
                _ if source.raw_os_error() == Some(nix::libc::EIO) => Error::Disk { operation, path, source },
                _ => Error::Io { operation, path, source },
            }
        }
    }
}
