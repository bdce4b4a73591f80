//! One change of the configuration: its encoding inside a raft entry, the checks that bind when it is applied, and its effect.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_api::{admin, error::Error as ApiError};

use super::{Member, Membership};
use crate::command::CommandId;
use crate::log::{Index, MemberId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only founding and etcd's MemberAdd add voters at once; the operator adds learners.
    AddVoter(Member),
    AddLearner(Member),
    Promote(MemberId),
    Remove(MemberId),
    UpdatePeerUrls {
        id: MemberId,
        peer_urls: Vec<String>,
    },
}

/// A change as it stands in the log, with the id of the waiter that gets its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    pub id: CommandId,
    pub change: Change,
    /// The configuration index that the proposer saw; `None` = whatever it is (etcd's own calls).
    pub expected_index: Option<Index>,
    /// How many learners may exist at once; 0 = not limited by this change.
    pub learners_max: u32,
}

/// Why a committed change has no effect. Nothing was changed; the waiter is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Api(ApiError),
    #[error("the configuration moved: expected index {expected}, it is {actual}; read it again and decide anew")]
    Moved { expected: Index, actual: Index },
    #[error("another membership change is in flight; try again when it is done")]
    InFlight,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Refused::Api(error)
    }
}

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
/// Format, id (24), has expected index, expected index, learners max, kind.
const HEAD_BYTES: usize = 1 + 24 + 1 + 8 + 4 + 1;

impl Change {
    /// The member that is changed.
    pub fn member(&self) -> MemberId {
        match self {
            Change::AddVoter(member) | Change::AddLearner(member) => member.id,
            Change::Promote(id) | Change::Remove(id) | Change::UpdatePeerUrls { id, .. } => *id,
        }
    }
}

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
        let (kind, row) = match change {
            Change::AddVoter(member) => (KIND_ADD_VOTER, member.to_message()),
            Change::AddLearner(member) => (KIND_ADD_LEARNER, member.to_message()),
            Change::Promote(id) => (KIND_PROMOTE, admin::Member { id: *id, ..Default::default() }),
            Change::Remove(id) => (KIND_REMOVE, admin::Member { id: *id, ..Default::default() }),
            Change::UpdatePeerUrls { id, peer_urls } => {
                (KIND_UPDATE, admin::Member { id: *id, peer_urls: peer_urls.clone(), ..Default::default() })
            }
        };
        data.put_u8(kind);
        data.put_slice(&row.encode_to_vec());
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
        let row = admin::Member::decode(data).map_err(|error| DecodeError::Payload(error.to_string()))?;
        let change = match kind {
            KIND_ADD_VOTER => Change::AddVoter(Member::from_message(row)),
            KIND_ADD_LEARNER => Change::AddLearner(Member::from_message(row)),
            KIND_PROMOTE => Change::Promote(row.id),
            KIND_REMOVE => Change::Remove(row.id),
            KIND_UPDATE => Change::UpdatePeerUrls { id: row.id, peer_urls: row.peer_urls },
            kind => return Err(DecodeError::Kind { kind }),
        };
        Ok(Proposed { id, change, expected_index, learners_max })
    }
}

impl Membership {
    /// Whether the change may have effect now. The same answer on every member at the same index.
    ///
    /// # Errors
    /// etcd's errors of the Cluster service, or the guard of `expected_index`.
    pub fn check(&self, proposed: &Proposed) -> Result<(), Refused> {
        if let Some(expected) = proposed.expected_index
            && expected != self.index
        {
            return Err(Refused::Moved { expected, actual: self.index });
        }
        match &proposed.change {
            Change::AddVoter(member) => self.check_add(member),
            Change::AddLearner(member) => {
                self.check_add(member)?;
                let learners = self.members.values().filter(|m| m.learner).count();
                if proposed.learners_max > 0 && learners >= proposed.learners_max as usize {
                    return Err(ApiError::TooManyLearners.into());
                }
                Ok(())
            }
            Change::Promote(id) => match self.members.get(id) {
                None => Err(ApiError::MemberNotFound.into()),
                Some(member) if !member.learner => Err(ApiError::MemberNotLearner.into()),
                Some(_) => Ok(()),
            },
            Change::Remove(id) => match self.members.get(id) {
                None => Err(ApiError::MemberNotFound.into()),
                // The last voter cannot leave: nobody could commit anything any more.
                Some(member) if !member.learner && self.voters() == 1 => Err(ApiError::MemberNotEnoughStarted.into()),
                Some(_) => Ok(()),
            },
            Change::UpdatePeerUrls { id, peer_urls } => {
                if !self.members.contains_key(id) {
                    return Err(ApiError::MemberNotFound.into());
                }
                self.check_urls_free(peer_urls, Some(*id))
            }
        }
    }

    fn check_add(&self, member: &Member) -> Result<(), Refused> {
        if self.removed.contains(&member.id) {
            return Err(ApiError::MemberNotFound.into());
        }
        if self.members.contains_key(&member.id) {
            return Err(ApiError::MemberExist.into());
        }
        self.check_urls_free(&member.peer_urls, None)
    }

    fn check_urls_free(&self, urls: &[String], except: Option<MemberId>) -> Result<(), Refused> {
        let taken = self
            .members
            .values()
            .filter(|member| Some(member.id) != except)
            .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(ApiError::PeerURLExist.into()) } else { Ok(()) }
    }

    /// Carries out a change that `check` allowed.
    pub fn apply(&mut self, index: Index, change: Change) {
        assert!(index > self.index, "change at {index} after one at {}", self.index);
        match change {
            Change::AddVoter(member) => {
                self.members.insert(member.id, Member { learner: false, ..member });
            }
            Change::AddLearner(member) => {
                self.members.insert(member.id, Member { learner: true, ..member });
            }
            Change::Promote(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.learner = false;
                }
            }
            Change::Remove(id) => {
                self.members.remove(&id);
                self.removed.insert(id);
            }
            Change::UpdatePeerUrls { id, peer_urls } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.peer_urls = peer_urls;
                }
            }
        }
        self.index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: MemberId) -> Member {
        Member {
            id,
            peer_urls: vec![format!("http://peer-{id}:2380")],
            disk_id: format!("d{id}"),
            ..Default::default()
        }
    }

    fn proposed(change: Change) -> Proposed {
        Proposed { id: CommandId { member: 1, boot: 2, counter: 3 }, change, expected_index: None, learners_max: 1 }
    }

    fn three() -> Membership {
        let mut membership = Membership::default();
        for id in 1..=3 {
            membership.apply(id, Change::AddVoter(member(id)));
        }
        membership
    }

    #[test]
    fn a_change_reads_back_as_it_was_written() {
        for change in [
            Change::AddVoter(member(4)),
            Change::AddLearner(Member { learner: true, ..member(5) }),
            Change::Promote(6),
            Change::Remove(7),
            Change::UpdatePeerUrls { id: 8, peer_urls: vec!["http://x:1".into()] },
        ] {
            let proposed = Proposed { expected_index: Some(9), ..proposed(change) };
            assert_eq!(Proposed::decode(proposed.encode()), Ok(proposed));
        }
    }

    #[test]
    fn refusals_are_etcds() {
        let mut membership = three();
        membership.apply(4, Change::AddLearner(member(4)));
        membership.apply(5, Change::Remove(3));
        for (change, expected) in [
            (Change::AddLearner(member(9)), Err(ApiError::TooManyLearners.into())),
            (Change::AddVoter(member(1)), Err(ApiError::MemberExist.into())),
            (Change::AddVoter(member(3)), Err(ApiError::MemberNotFound.into())),
            (Change::AddVoter(Member { id: 9, ..member(1) }), Err(ApiError::PeerURLExist.into())),
            (Change::Promote(1), Err(ApiError::MemberNotLearner.into())),
            (Change::Promote(9), Err(ApiError::MemberNotFound.into())),
            (Change::Promote(4), Ok(())),
            (Change::Remove(3), Err(ApiError::MemberNotFound.into())),
            (Change::Remove(4), Ok(())),
            (Change::UpdatePeerUrls { id: 1, peer_urls: member(2).peer_urls }, Err(ApiError::PeerURLExist.into())),
            (Change::UpdatePeerUrls { id: 1, peer_urls: member(1).peer_urls }, Ok(())),
        ] {
            let proposed = proposed(change);
            assert_eq!(membership.check(&proposed), expected, "{proposed:?}");
        }
    }

    #[test]
    fn the_last_voter_stays() {
        let mut membership = Membership::default();
        membership.apply(1, Change::AddVoter(member(1)));
        membership.apply(2, Change::AddLearner(member(2)));
        assert_eq!(membership.check(&proposed(Change::Remove(1))), Err(ApiError::MemberNotEnoughStarted.into()));
        assert_eq!(membership.check(&proposed(Change::Remove(2))), Ok(()));
    }

    #[test]
    fn a_guarded_change_is_refused_when_the_configuration_moved() {
        let membership = three();
        let guarded = |index| Proposed { expected_index: Some(index), ..proposed(Change::Remove(3)) };
        assert_eq!(membership.check(&guarded(3)), Ok(()));
        assert_eq!(membership.check(&guarded(2)), Err(Refused::Moved { expected: 2, actual: 3 }));
    }
}
