//! Opens what is on disk: the database, the log, and the state machine that they give. Founding writes the log's first entries.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::apply::Machine;
use quorate_core::log::{Entry, HardState, Index};
use quorate_core::membership::{Member, Membership};
use quorate_core::node::Node;
use quorate_core::replica::{self, LogReadError, LogReader, MEMORY_BYTES_MAX, Start, Timing, Window};
use quorate_core::wal_format::Group;

use super::{Error, recover};
use crate::backend::{self, Backend};
use crate::config::Config;
use crate::directory::{self, Directory, Origin, Seed};
use crate::driver::flush_policy;
use crate::snapshot::Storage;
use crate::store::{Identity, Timers};
use crate::wal::{self, Wal, WalReader};

/// A member that is ready to run.
pub struct Opened {
    pub directory: Directory,
    pub identity: Identity,
    pub backend: Arc<Backend>,
    pub wal: Wal,
    pub machine: Machine,
    pub node: Node,
    /// The configuration to find peers by: applied, or as founded or admitted while nothing is applied.
    pub membership: Membership,
    /// Nobody is served before this is applied: this member may have answered up to here.
    pub serve_from: Index,
    pub timers: Timers,
}

/// Reads the log for raft.
pub struct Reader(pub WalReader);

impl LogReader for Reader {
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<Entry>, LogReadError> {
        let failed = |error: wal::ReadError| LogReadError { low, high, reason: error.to_string() };
        self.0.entries(low, high, bytes_max).map_err(failed)
    }

    fn term(&self, index: Index) -> Result<u64, LogReadError> {
        let missing = || LogReadError { low: index, high: index + 1, reason: "not in the log".to_owned() };
        self.0.term(index).ok_or_else(missing)
    }
}

/// What a follower that answers still wants is kept for so many times as long as what one that is away may want.
const KEEP_WANTED_TIMES: u64 = 16;

/// Opens a directory that is bound to a cluster.
///
/// # Errors
/// What is on disk must not be used; the text names the remedy.
pub fn open(config: &Config, directory: &Directory) -> Result<Opened, Error> {
    let (keep_bytes, keep_wanted_bytes) = match config.wal_keep_bytes {
        Some(bytes) => (bytes, bytes.saturating_mul(KEEP_WANTED_TIMES)),
        None => (0, wal::keep_wanted_bytes(directory.log())),
    };
    let options = wal::Options { fsync: !config.unsafe_no_fsync, ..wal::Options::new(directory.disk_id()?) };
    let options = wal::Options { keep_bytes, keep_wanted_bytes, ..options };
    let Storage { backend, mut wal, recovered } = Storage::open(directory, database_options(), options)?;
    if recovered.last_group == 0 {
        let admission = directory.member().admission.expect("a member is opened after it was founded or admitted");
        begin_log(&mut wal, admission.origin, &admission.members)?;
    }
    // Also of a log that was begun by a start which could not note it.
    directory.note_log_begun()?;
    let backend = recover::carry_out(config, directory, backend, &mut wal, recovered.last_group > 0)?;
    let member = directory.member();
    let bound = member.identity.expect("a member is opened after it was founded or admitted");
    let admission = member.admission.expect("it stands beside the identity");
    let machine = Machine::open(&backend.live())?;
    let reader = wal.reader();
    let truncated = reader.first_index() - 1;
    let timers = timers(config, member.timers.as_ref());
    let start = Start {
        id: bound.member_id,
        hard_state: HardState { commit: wal.commit(), ..wal.hard_state() },
        conf_state: machine.conf_state(),
        applied: machine.applied().index,
        truncated: (truncated, reader.term(truncated).unwrap_or(0)),
        last_index: reader.last_index(),
        memory_bytes_max: MEMORY_BYTES_MAX,
        seed: rand::random(),
        timing: Timing { election_ticks: timers.election_ticks(), pre_vote: config.pre_vote },
        window: Window::default(),
    };
    let serve_from = recovered.hinted_commit.max(wal.commit()).min(reader.last_index());
    let node = Node::new(start, member.boot, Box::new(Reader(reader)), flush_policy(&timers));
    let membership = match machine.applied().index {
        0 => Membership::seeded(admission.members.iter().map(member_of)),
        _ => machine.membership().clone(),
    };
    let identity =
        Identity { cluster_id: bound.cluster_id, member_id: bound.member_id, name: bound.name, boot: member.boot };
    let backend = Arc::new(backend);
    let directory = directory.clone();
    Ok(Opened { directory, identity, backend, wal, machine, node, membership, serve_from, timers })
}

/// The flags hold until other timers were pushed.
fn timers(config: &Config, pushed: Option<&directory::Setting<directory::Timers>>) -> Timers {
    match pushed {
        Some(setting) => Timers {
            heartbeat: Duration::from_millis(setting.value.heartbeat_milliseconds),
            election: Duration::from_millis(setting.value.election_milliseconds),
        },
        None => Timers { heartbeat: config.heartbeat, election: config.election },
    }
}

fn member_of(seed: &Seed) -> Member {
    let Seed { id, name, peer_urls, learner, disk_id } = seed.clone();
    Member { id, name, peer_urls, learner, disk_id, ..Default::default() }
}

/// Writes the first group: the members of a founded cluster as committed entries of term 1, or nothing for one that joins.
fn begin_log(wal: &mut Wal, origin: Origin, members: &[Seed]) -> Result<(), Error> {
    let founded = match origin {
        Origin::Founded => members,
        Origin::Admitted => &[],
    };
    let (hard_state, entries) = replica::first_group(founded.iter().map(member_of));
    let (number, commit) = (wal.last_group() + 1, hard_state.commit);
    wal.append(Group { number, commit, hard_state: Some(hard_state), entries: &entries, marker: None })?;
    Ok(())
}

/// The memory and threads that the database gets.
pub fn database_options() -> backend::Options {
    backend::Options::default()
}
