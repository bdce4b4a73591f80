//! Between our values and the raft crate's generated types. A membership entry's data is a ConfChangeV2 message, because raft reads
//! it when it is proposed; it is encoded here by field number, so that protobuf 2 decodes no byte that came from outside.

use bytes::Bytes;
use raft::eraftpb;

use super::message::{DecodeError, Message};
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use crate::membership::Change;

/// ConfChangeSingle of raft's protocol: type 0 add voter, 1 remove, 2 add learner.
#[derive(Clone, PartialEq, prost::Message)]
struct Single {
    #[prost(int32, tag = "1")]
    change_type: i32,
    #[prost(uint64, tag = "2")]
    node_id: u64,
}

/// ConfChangeV2 of raft's protocol; our payload travels in its context.
#[derive(Clone, PartialEq, prost::Message)]
struct ChangeV2 {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<Single>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

const ADD_VOTER: i32 = 0;
const REMOVE: i32 = 1;
const ADD_LEARNER: i32 = 2;

/// ConfChangeTransition of raft's protocol: one change is simple and none leaves a joint configuration, or an explicit joint change,
/// which whoever leads ends by another entry (raft 0.7 may lose its automatic one).
const AUTO: i32 = 0;
const EXPLICIT: i32 = 2;

pub(super) struct Decoded {
    pub raft: eraftpb::ConfChangeV2,
    pub payload: Bytes,
}

/// `is_learner` says what a member is now: changing URLs re-adds it in its role, which raft takes as no change.
pub(super) fn encode_change(change: &Change, is_learner: impl Fn(u64) -> bool, payload: Bytes) -> Bytes {
    let single = |change: &Change| {
        let (change_type, node_id) = match change {
            Change::AddVoter(member) => (ADD_VOTER, member.id),
            Change::AddLearner(member) => (ADD_LEARNER, member.id),
            Change::Promote(id) => (ADD_VOTER, *id),
            Change::Remove(id) => (REMOVE, *id),
            Change::UpdatePeerUrls { id, .. } if is_learner(*id) => (ADD_LEARNER, *id),
            Change::UpdatePeerUrls { id, .. } => (ADD_VOTER, *id),
            Change::Joint(_) | Change::Leave => unreachable!("membership allows no joint change inside of one"),
        };
        Single { change_type, node_id }
    };
    let (transition, changes) = match change {
        Change::Joint(changes) => (EXPLICIT, changes.iter().map(single).collect()),
        Change::Leave => (AUTO, Vec::new()),
        change => (AUTO, vec![single(change)]),
    };
    let message = ChangeV2 { transition, changes, context: payload };
    prost::Message::encode_to_vec(&message).into()
}

pub(super) fn decode_change(data: &Bytes) -> Result<Decoded, DecodeError> {
    let message: ChangeV2 =
        prost::Message::decode(data.clone()).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let mut changes = Vec::with_capacity(message.changes.len());
    for Single { change_type, node_id } in message.changes {
        let mut single = eraftpb::ConfChangeSingle::default();
        single.set_change_type(match change_type {
            ADD_VOTER => eraftpb::ConfChangeType::AddNode,
            REMOVE => eraftpb::ConfChangeType::RemoveNode,
            ADD_LEARNER => eraftpb::ConfChangeType::AddLearnerNode,
            other => return Err(DecodeError::Malformed(format!("membership change of type {other}"))),
        });
        single.node_id = node_id;
        changes.push(single);
    }
    let mut raft = eraftpb::ConfChangeV2::default();
    raft.set_transition(match message.transition {
        AUTO => eraftpb::ConfChangeTransition::Auto,
        EXPLICIT => eraftpb::ConfChangeTransition::Explicit,
        other => return Err(DecodeError::Malformed(format!("membership change with transition {other}"))),
    });
    raft.set_changes(changes.into());
    Ok(Decoded { raft, payload: message.context })
}

pub(super) fn messages(messages: Vec<eraftpb::Message>) -> Vec<Message> {
    messages.into_iter().map(Message::from_raft).collect()
}

pub(super) fn entry(entry: eraftpb::Entry) -> Entry {
    let kind = match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => EntryKind::Normal,
        eraftpb::EntryType::EntryConfChange | eraftpb::EntryType::EntryConfChangeV2 => EntryKind::Membership,
    };
    Entry { index: entry.index, term: entry.term, kind, data: entry.data }
}

pub(super) fn raft_entry(entry: &Entry) -> eraftpb::Entry {
    let mut raft = eraftpb::Entry::default();
    raft.set_entry_type(match entry.kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal,
        EntryKind::Membership => eraftpb::EntryType::EntryConfChangeV2,
    });
    raft.index = entry.index;
    raft.term = entry.term;
    raft.data = entry.data.clone();
    raft
}

pub(super) fn hard_state(state: &eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn raft_hard_state(state: HardState) -> eraftpb::HardState {
    let HardState { term, vote, commit } = state;
    eraftpb::HardState { term, vote, commit, ..Default::default() }
}

pub(super) fn conf_state(state: &eraftpb::ConfState) -> ConfState {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    ConfState {
        voters: sorted(&state.voters),
        learners: sorted(&state.learners),
        outgoing: sorted(&state.voters_outgoing),
        learners_next: sorted(&state.learners_next),
        auto_leave: state.auto_leave,
    }
}

pub(super) fn raft_conf_state(state: &ConfState) -> eraftpb::ConfState {
    let ConfState { voters, learners, outgoing, learners_next, auto_leave } = state.clone();
    eraftpb::ConfState { voters, learners, voters_outgoing: outgoing, learners_next, auto_leave, ..Default::default() }
}

pub(super) fn snapshot_meta(snapshot: &eraftpb::Snapshot) -> SnapshotMeta {
    let meta = snapshot.get_metadata();
    SnapshotMeta { index: meta.index, term: meta.term, conf_state: conf_state(meta.get_conf_state()) }
}

/// The data of a snapshot travels as files on a channel of its own; raft sees the point alone.
pub(super) fn raft_snapshot(meta: &SnapshotMeta) -> eraftpb::Snapshot {
    let mut raft = eraftpb::Snapshot::default();
    let inner = raft.mut_metadata();
    inner.index = meta.index;
    inner.term = meta.term;
    inner.set_conf_state(raft_conf_state(&meta.conf_state));
    raft
}
