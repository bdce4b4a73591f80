//! Makes a member the only voter of its cluster, with all its data: at a start, before raft runs.
//!
//! It is the installation of a snapshot of the member's own state (`snapshot::OwnCopy`), so a crash between any two steps leaves either
//! the old state, of which the next start makes the same, or the new one:
//! copy of the database → the whole log applied to it, then the recovery as one entry more → its files synced → a synced marker in the
//! log, with a term above every other → the pointer file → the member-local file (new cluster id, no fence).
//!
//! The whole log, also above the known commit index: what the dead majority acknowledged may be known as committed to nobody else, and
//! an entry that it never acknowledged only decides a write whose outcome its client does not know. The marker cuts the log, so
//! that whoever joins later gets a snapshot and no configuration of the old cluster.

use quorate_core::apply::{self, Applied, Limits, Machine};
use quorate_core::log::{Entry, EntryKind, HardState, Index, MemberId, SnapshotMeta};
use quorate_core::membership;
use quorate_core::replica;
use quorate_core::wal_format::Group;

use super::open::database_options;
use crate::backend::{self, Backend};
use crate::config::Config;
use crate::directory::{self, Directory, Seed};
use crate::driver::{load_unreclaimed, store_unreclaimed};
use crate::snapshot::{self, OwnCopy};
use crate::wal::{self, Wal, WalReader};

/// Bytes of entries that are read and applied at once.
const REPLAY_BYTES: u64 = 4 << 20;

/// Why a recovery was not carried out. What the member held before is still in force, unless it says that the marker is written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error("a copy of its database does not open: {0}")]
    Open(#[from] backend::OpenError),
    #[error("its log cannot be applied: {0}; recover another voter, or restore a backup")]
    State(#[from] apply::Error),
    #[error(
        "entry {index} of its log, a membership change, cannot be read: {reason}; recover another voter, or restore a backup"
    )]
    Change { index: Index, reason: String },
    #[error("its log cannot be read: {0}; recover another voter, or restore a backup")]
    Read(#[from] wal::ReadError),
    #[error(transparent)]
    Log(#[from] wal::Error),
    #[error(transparent)]
    Directory(#[from] directory::Error),
}

impl From<quorate_core::backend::Error> for Error {
    fn from(error: quorate_core::backend::Error) -> Error {
        Error::State(error.into())
    }
}

impl Error {
    /// Whether it may be tried again when the disk has room.
    pub(super) fn is_no_space(&self) -> bool {
        match self {
            Error::Snapshot(error) => error.is_no_space(),
            Error::Open(error) => error.is_no_space(),
            Error::Log(error) => error.opening_lacks_space(),
            Error::Directory(error) => error.is_no_space(),
            Error::State(_) | Error::Change { .. } | Error::Read(_) => false,
        }
    }

    /// Whether what the directory holds cannot be recovered, now or ever.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Error::Snapshot(error) => error.is_refusal(),
            Error::Open(error) => error.is_refusal(),
            Error::State(error) => error.store_failure().is_none_or(|error| backend::is_corruption(&error.reason)),
            Error::Read(error) => matches!(error, wal::ReadError::Corrupt { .. }),
            Error::Log(error) => error.is_refusal(),
            Error::Directory(error) => error.is_refusal(),
            Error::Change { .. } => true,
        }
    }
}

/// Carries out the recovery that the member-local file intends or `--force-new-cluster` asks for, if any. Returns the database that is in
/// force then. As in etcd the flag keeps the cluster's id, and means nothing to a member that is alone already or begins its log with this
/// start (`had_log` false).
///
/// # Errors
/// Why it cannot be; a later start tries again.
pub fn carry_out(
    config: &Config,
    directory: &Directory,
    backend: Backend,
    wal: &mut Wal,
    had_log: bool,
) -> Result<Backend, Error> {
    let member = directory.member();
    let bound = member.identity.as_ref().expect("a member is opened after it was founded or admitted");
    let forced = config.force_new_cluster && had_log;
    if let Some(recovery) = member.pending_recovery() {
        let (from, into) = (recovery.from_cluster_id, recovery.cluster_id);
        tracing::warn!(
            incident = recovery.incident,
            from = format!("{from:x}"),
            into = format!("{into:x}"),
            "this member goes on as the only one of a new cluster"
        );
    } else if forced && !is_alone(&backend, &wal.reader(), bound.member_id)? {
        tracing::warn!("--force-new-cluster is set: this member goes on as the only one of its cluster");
    } else {
        return Ok(backend);
    }
    fail::fail_point!("recover::before_copy");
    let (backend, survivor) = alone(config, directory, bound.member_id, backend, wal)?;
    fail::fail_point!("recover::before_identity");
    directory.update(|member| {
        member.finish_recovery(survivor);
        Ok(())
    })?;
    fail::fail_point!("recover::after_identity");
    tracing::info!("this member is the only one of its cluster");
    Ok(backend)
}

/// Whether this member is all there is, also by the log that is not applied yet.
fn is_alone(backend: &Backend, log: &WalReader, id: MemberId) -> Result<bool, Error> {
    let machine = Machine::open(&backend.live())?;
    let mut next = machine.applied().index + 1;
    let end = log.last_index() + 1;
    while next < end {
        let entries = log.entries(next, end, REPLAY_BYTES)?;
        if entries.iter().any(|entry| entry.kind == EntryKind::Membership) {
            return Ok(false);
        }
        next += entries.len() as u64;
    }
    Ok(machine.membership().is_alone(id))
}

/// Puts a state in force in which this member is all there is. Done twice it only takes one more index and term.
fn alone(
    config: &Config,
    directory: &Directory,
    id: MemberId,
    backend: Backend,
    wal: &mut Wal,
) -> Result<(Backend, Seed), Error> {
    let copy = OwnCopy::make(directory, &backend)?;
    let database = Backend::open(copy.path(), database_options())?;
    let term = wal.hard_state().term + 1;
    let fallback = membership::Member {
        id,
        name: config.name.clone(),
        peer_urls: config.advertise_peer_urls.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let (meta, survivor) = apply_all(&database, &wal.reader(), term, fallback)?;
    let received = copy.finish(&database)?;
    drop(database);
    drop(copy);
    assert_eq!(*received.meta(), meta, "the snapshot is of the recovered state");
    fail::fail_point!("recover::before_marker");
    let number = wal.last_group() + 1;
    let hard_state = Some(HardState { term, vote: 0, commit: meta.index });
    wal.append(Group { number, commit: meta.index, hard_state, entries: &[], marker: Some(&received.marker()) })?;
    let installed = received.install(database_options())?;
    backend.remove_when_closed();
    let membership::Member { id, name, peer_urls, client_urls: _, learner: _, disk_id } = survivor;
    Ok((installed, Seed { id, name, peer_urls, learner: false, disk_id }))
}

/// Applies the log to its end and then the recovery, and makes all of it durable in `database`.
fn apply_all(
    database: &Backend,
    log: &WalReader,
    term: u64,
    fallback: membership::Member,
) -> Result<(SnapshotMeta, membership::Member), Error> {
    let mut machine = Machine::open(&database.live())?;
    let id = fallback.id;
    let before = machine.membership().get(id).cloned();
    let from = machine.applied().index;
    let last = log.last_index();
    while machine.applied().index < last {
        let entries = log.entries(machine.applied().index + 1, last + 1, REPLAY_BYTES)?;
        // A membership change has a turn of its own.
        for turn in entries.chunk_by(|a, b| a.kind == EntryKind::Normal && b.kind == EntryKind::Normal) {
            apply_turn(database, &mut machine, turn)?;
        }
    }
    let survivor = machine.membership().get(id).cloned().or(before).unwrap_or(fallback);
    let view = database.live();
    let mut turn = machine.turn(&view, Limits::default());
    turn.recover(last + 1, term, survivor);
    let Applied { batch, applied, .. } = turn.finish();
    database.write(&batch)?;
    database.flush()?;
    tracing::info!(entries = last - from, revision = machine.revision(), "applied the log to its end");
    let survivor = machine.membership().get(id).expect("the recovery left this member").clone();
    Ok((SnapshotMeta { index: applied.index, term: applied.term, conf_state: machine.conf_state() }, survivor))
}

fn apply_turn(database: &Backend, machine: &mut Machine, entries: &[Entry]) -> Result<(), Error> {
    let (size, compacted) = (machine.size_in_use_bytes(), machine.compact_revision());
    let view = database.live();
    let mut turn = machine.turn(&view, Limits::default());
    for Entry { index, term, kind, data } in entries {
        match kind {
            EntryKind::Normal => turn.entry(*index, *term, data.clone())?,
            EntryKind::Membership => {
                let unreadable =
                    |error: replica::DecodeError| Error::Change { index: *index, reason: error.to_string() };
                turn.change(*index, *term, replica::change_payload(data).map_err(unreadable)?)?;
            }
        }
    }
    let Applied { mut batch, compact_revision, .. } = turn.finish();
    if compact_revision > compacted {
        let freed = size.saturating_sub(machine.size_in_use_bytes());
        store_unreclaimed(load_unreclaimed(database)? + freed, &mut batch);
    }
    database.write(&batch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_api::etcdserverpb as pb;
    use quorate_core::command::{BatchBuilder, Command, CommandId, Request};
    use quorate_core::log::ConfState;
    use quorate_core::membership::{Change, Member, Proposed};
    use tempfile::TempDir;

    use super::*;

    const SURVIVOR: MemberId = 2;
    const TERM: u64 = 5;

    fn member(id: MemberId) -> Member {
        Member { id, peer_urls: vec![format!("http://p{id}:2380")], ..Default::default() }
    }

    fn changed(change: Change) -> (EntryKind, Bytes) {
        let proposed = Proposed { id: CommandId::default(), change, expected_index: None, learners_max: 0 };
        (EntryKind::Membership, replica::founding_entry_data(&proposed.change, proposed.encode()))
    }

    fn asked(request: Request) -> (EntryKind, Bytes) {
        let mut batch = BatchBuilder::default();
        batch.push(&Command { id: CommandId::default(), user: String::new(), auth_revision: 0, request });
        (EntryKind::Normal, batch.finish())
    }

    fn put(key: &str) -> (EntryKind, Bytes) {
        asked(Request::Put(pb::PutRequest { key: key.to_owned().into(), ..Default::default() }))
    }

    /// A log of these entries after the founding of members 1 to 3, of which `committed` are known as committed.
    fn log(volume: &TempDir, committed: Index, more: Vec<(EntryKind, Bytes)>) -> Wal {
        let options = wal::Options { segment_bytes: 64 << 10, ..wal::Options::new([7; 16]) };
        let (mut wal, _) = Wal::open(&volume.path().join("wal"), options, 0).unwrap();
        let founding = (1..=3).map(|id| changed(Change::AddVoter(member(id))));
        let entries: Vec<Entry> = (1..)
            .zip(founding.chain(more))
            .map(|(index, (kind, data))| Entry { index, term: TERM, kind, data })
            .collect();
        let hard_state = Some(HardState { term: TERM, vote: 1, commit: committed });
        wal.append(Group { number: 1, commit: committed, hard_state, entries: &entries, marker: None }).unwrap();
        wal
    }

    /// What `apply_all` makes of a log on an empty database.
    fn applied(committed: Index, more: Vec<(EntryKind, Bytes)>) -> (SnapshotMeta, Member, Machine) {
        let volume = TempDir::new().unwrap();
        let wal = log(&volume, committed, more);
        let database = Backend::open(&volume.path().join("db"), database_options()).unwrap();
        let (meta, survivor) = apply_all(&database, &wal.reader(), TERM + 1, member(SURVIVOR)).unwrap();
        assert_eq!(database.durable_applied().unwrap(), (meta.index, meta.term), "all of it is durable");
        let machine = Machine::open(&database.live()).unwrap();
        (meta, survivor, machine)
    }

    fn alone() -> ConfState {
        ConfState { voters: vec![SURVIVOR], ..Default::default() }
    }

    #[test]
    fn the_whole_log_is_applied_also_what_nobody_knows_as_committed() {
        let (meta, survivor, machine) =
            applied(4, vec![put("a"), put("b"), (EntryKind::Normal, Bytes::new()), put("c")]);
        assert_eq!(meta, SnapshotMeta { index: 8, term: TERM + 1, conf_state: alone() });
        assert_eq!(survivor, member(SURVIVOR));
        assert_eq!(machine.revision(), 4, "three puts");
        assert!(machine.membership().is_removed(1) && machine.membership().is_removed(3));
    }

    #[test]
    fn changes_of_members_at_the_end_of_the_log_do_no_harm() {
        let urls = vec!["http://moved:2380".to_owned()];
        let moved = Change::UpdatePeerUrls { id: SURVIVOR, peer_urls: urls.clone() };
        let (meta, survivor, machine) = applied(
            3,
            vec![changed(moved), changed(Change::AddVoter(member(9))), changed(Change::Remove(1)), put("a")],
        );
        assert_eq!((meta.conf_state, survivor.peer_urls), (alone(), urls));
        assert_eq!(machine.revision(), 2);
        assert!([1, 3, 9].iter().all(|id| machine.membership().is_removed(*id)), "whoever was to join is lost as well");

        let (meta, survivor, _) = applied(3, vec![changed(Change::Remove(SURVIVOR)), put("a")]);
        assert_eq!((meta.conf_state, survivor), (alone(), member(SURVIVOR)), "its own removal is no decision any more");

        let learner = Member { learner: true, ..member(4) };
        let joint = Change::Joint(vec![Change::Promote(4), Change::Remove(SURVIVOR)]);
        let level = asked(Request::FeatureLevel(2));
        let (meta, ..) = applied(3, vec![level, changed(Change::AddLearner(learner)), changed(joint)]);
        assert_eq!(meta.conf_state, alone(), "nor is a joint change that nobody ends");
    }

    #[test]
    fn what_a_compaction_at_the_end_of_the_log_freed_is_still_to_be_reclaimed() {
        let volume = TempDir::new().unwrap();
        let compact = asked(Request::Compact(pb::CompactionRequest { revision: 3, physical: false }));
        // As in the driver, what a turn freed is how much smaller it left the state: the puts are of another turn.
        let wal = log(&volume, 3, vec![put("a"), put("a"), changed(Change::AddVoter(member(9))), compact]);
        let database = Backend::open(&volume.path().join("db"), database_options()).unwrap();
        apply_all(&database, &wal.reader(), TERM + 1, member(SURVIVOR)).unwrap();
        assert!(load_unreclaimed(&database).unwrap() > 0);
    }
}
