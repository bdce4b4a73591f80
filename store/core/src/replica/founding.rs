//! What a log begins with: the members of a cluster that is founded, as entries that need no vote.

use super::convert;
use crate::command::CommandId;
use crate::log::{Entry, EntryKind, HardState, Term};
use crate::membership::{Change, Member, Proposed};

/// Term of the entries that found a cluster (etcd's).
const FOUNDING_TERM: Term = 1;

/// The first group of a log: its hard state, and the founders as committed entries of term 1. Nothing for a member that joins.
pub fn first_group(founders: impl IntoIterator<Item = Member>) -> (HardState, Vec<Entry>) {
    let entry = |(index, member)| {
        let change = Change::AddVoter(member);
        let proposed = Proposed { id: CommandId::default(), change, expected_index: None, learners_max: 0 };
        let data = founding_entry_data(&proposed.change, proposed.encode());
        Entry { index, term: FOUNDING_TERM, kind: EntryKind::Membership, data }
    };
    let entries: Vec<Entry> = (1..).zip(founders).map(entry).collect();
    let term = if entries.is_empty() { 0 } else { FOUNDING_TERM };
    (HardState { term, vote: 0, commit: entries.len() as u64 }, entries)
}

/// The data of a membership entry that is written without proposing.
pub fn founding_entry_data(change: &Change, payload: bytes::Bytes) -> bytes::Bytes {
    convert::encode_change(change, |_| false, payload)
}
