//! The encoding of a change inside a raft entry. It may grow kinds, each behind a feature level; it never changes one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_api::admin;

use super::{Change, Member, Proposed};
use crate::command::CommandId;

/// Why a change cannot be read. It was committed, so the member stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("membership change has format {found}, this version reads up to {FORMAT}: upgrade this member")]
    Format { found: u8 },
    #[error("membership change of kind {kind} is unknown: upgrade this member")]
    Kind { kind: u8 },
    #[error("membership change does not decode: {0}")]
    Payload(String),
}

const FORMAT: u8 = 1;
const KIND_ADD_VOTER: u8 = 1;
const KIND_ADD_LEARNER: u8 = 2;
const KIND_PROMOTE: u8 = 3;
const KIND_REMOVE: u8 = 4;
const KIND_UPDATE: u8 = 5;
/// From feature level 2 on: changes one after the other, each as kind, length (4) and row.
const KIND_JOINT: u8 = 6;
/// From feature level 2 on; nothing follows.
const KIND_LEAVE: u8 = 7;
/// Format, id (24), has expected index, expected index, learners max, kind.
const HEAD_BYTES: usize = 1 + 24 + 1 + 8 + 4 + 1;

impl Proposed {
    pub fn encode(&self) -> Bytes {
        let Proposed { id, change, expected_index, learners_max } = self;
        let mut data = BytesMut::with_capacity(256);
        data.put_u8(FORMAT);
        data.put_u64(id.member);
        data.put_u64(id.boot);
        data.put_u64(id.counter);
        data.put_u8(u8::from(expected_index.is_some()));
        data.put_u64(expected_index.unwrap_or(0));
        data.put_u32(*learners_max);
        let (kind, row) = encode(change);
        data.put_u8(kind);
        data.put_slice(&row);
        data.freeze()
    }

    /// # Errors
    /// A format or kind of a later version, or a payload that is cut.
    pub fn decode(mut data: Bytes) -> Result<Proposed, DecodeError> {
        if data.len() < HEAD_BYTES {
            return Err(DecodeError::Payload(format!("{} bytes, the head alone has {HEAD_BYTES}", data.len())));
        }
        let format = data.get_u8();
        if format != FORMAT {
            return Err(DecodeError::Format { found: format });
        }
        let id = CommandId { member: data.get_u64(), boot: data.get_u64(), counter: data.get_u64() };
        let expects = data.get_u8() != 0;
        let expected_index = Some(data.get_u64()).filter(|_| expects);
        let learners_max = data.get_u32();
        let kind = data.get_u8();
        let change = match kind {
            KIND_JOINT => Change::Joint(decode_all(data)?),
            kind => decode(kind, data)?,
        };
        Ok(Proposed { id, change, expected_index, learners_max })
    }
}

fn encode(change: &Change) -> (u8, Vec<u8>) {
    let of = |id: u64| admin::Member { id, ..Default::default() };
    let (kind, row) = match change {
        Change::AddVoter(member) => (KIND_ADD_VOTER, member.to_message()),
        Change::AddLearner(member) => (KIND_ADD_LEARNER, member.to_message()),
        Change::Promote(id) => (KIND_PROMOTE, of(*id)),
        Change::Remove(id) => (KIND_REMOVE, of(*id)),
        Change::UpdatePeerUrls { id, peer_urls } => {
            (KIND_UPDATE, admin::Member { peer_urls: peer_urls.clone(), ..of(*id) })
        }
        Change::Joint(changes) => return (KIND_JOINT, encode_all(changes)),
        Change::Leave => return (KIND_LEAVE, Vec::new()),
    };
    (kind, row.encode_to_vec())
}

fn encode_all(changes: &[Change]) -> Vec<u8> {
    let mut data = Vec::new();
    for (kind, row) in changes.iter().map(encode) {
        data.put_u8(kind);
        data.put_u32(u32::try_from(row.len()).expect("a member has a few URLs"));
        data.put_slice(&row);
    }
    data
}

/// A change without others inside.
fn decode(kind: u8, data: Bytes) -> Result<Change, DecodeError> {
    if !(KIND_ADD_VOTER..=KIND_LEAVE).contains(&kind) || kind == KIND_JOINT {
        return Err(DecodeError::Kind { kind });
    }
    let row = admin::Member::decode(data).map_err(|error| DecodeError::Payload(error.to_string()))?;
    Ok(match kind {
        KIND_ADD_VOTER => Change::AddVoter(Member::from_message(row)),
        KIND_ADD_LEARNER => Change::AddLearner(Member::from_message(row)),
        KIND_PROMOTE => Change::Promote(row.id),
        KIND_REMOVE => Change::Remove(row.id),
        KIND_UPDATE => Change::UpdatePeerUrls { id: row.id, peer_urls: row.peer_urls },
        _ => Change::Leave,
    })
}

fn decode_all(mut data: Bytes) -> Result<Vec<Change>, DecodeError> {
    let mut changes = Vec::new();
    while !data.is_empty() {
        let cut = |missing: usize| DecodeError::Payload(format!("a joint change ends {missing} bytes early"));
        if data.len() < 5 {
            return Err(cut(5 - data.len()));
        }
        let kind = data.get_u8();
        let length = data.get_u32() as usize;
        if data.len() < length {
            return Err(cut(length - data.len()));
        }
        if !(KIND_ADD_VOTER..=KIND_REMOVE).contains(&kind) {
            return Err(DecodeError::Payload(format!("a joint change holds a change of kind {kind}")));
        }
        changes.push(decode(kind, data.split_to(length))?);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id,
            peer_urls: vec![format!("http://peer-{id}:2380")],
            disk_id: format!("d{id}"),
            ..Default::default()
        }
    }

    fn all() -> Vec<Change> {
        let joint =
            vec![Change::AddLearner(Member { learner: true, ..member(9) }), Change::Promote(6), Change::Remove(7)];
        vec![
            Change::AddVoter(member(4)),
            Change::AddLearner(Member { learner: true, ..member(5) }),
            Change::Promote(6),
            Change::Remove(7),
            Change::UpdatePeerUrls { id: 8, peer_urls: vec!["http://x:1".into()] },
            Change::Joint(joint),
            Change::Leave,
        ]
    }

    fn proposed(change: Change) -> Proposed {
        let id = CommandId { member: 1, boot: 2, counter: 3 };
        Proposed { id, change, expected_index: Some(9), learners_max: 1 }
    }

    #[test]
    fn a_change_reads_back_as_it_was_written() {
        for change in all() {
            let proposed = proposed(change);
            assert_eq!(Proposed::decode(proposed.encode()), Ok(proposed));
        }
    }

    #[test]
    fn a_kind_of_a_later_version_stops_the_member_with_a_clear_message() {
        for kind in [0, 8, 200] {
            let mut data = proposed(Change::Leave).encode().to_vec();
            *data.last_mut().unwrap() = kind;
            let error = Proposed::decode(data.into()).unwrap_err();
            assert_eq!(error.to_string(), format!("membership change of kind {kind} is unknown: upgrade this member"));
        }
    }

    #[test]
    fn a_joint_change_that_is_cut_or_nested_is_refused() {
        let whole = proposed(Change::Joint(vec![Change::Promote(6), Change::Remove(7)])).encode();
        // Of two rows of 7 bytes each, the second begins after 7.
        for length in HEAD_BYTES + 8..whole.len() {
            assert!(Proposed::decode(whole.slice(..length)).is_err(), "the first {length} bytes were taken");
        }
        for inside in [Change::Joint(vec![Change::Promote(6)]), Change::Leave] {
            let nested = proposed(Change::Joint(vec![inside])).encode();
            assert!(matches!(Proposed::decode(nested), Err(DecodeError::Payload(_))));
        }
    }
}
