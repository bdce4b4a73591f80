//! The configuration as rows of the `members` family, and as the messages that travel.
//!
//! Rows: `m` ∥ member id → the member; `r` ∥ member id → nothing (removed for ever); `i` → index of the last change; `j` → the old
//! voters and the leaving members of a joint configuration, absent outside of one.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_api::{admin, etcdserverpb as pb};

use super::joint::Joint;
use super::{Member, Membership};
use crate::backend::{self, Family, View, WriteBatch};
use crate::log::MemberId;

/// Version of the row of a joint configuration.
const JOINT_FORMAT: u8 = 1;

/// A row that is not what this version writes.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Backend(#[from] backend::Error),
    #[error("members row {key}: {reason}; restore this member from the others")]
    Malformed { key: String, reason: String },
}

fn row_key(prefix: u8, id: MemberId) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(prefix);
    key.put_u64(id);
    key.freeze()
}

/// Key of the row that says that this member was removed for ever.
pub(crate) fn removed_key(id: MemberId) -> Bytes {
    row_key(b'r', id)
}

fn malformed(key: &[u8], reason: impl ToString) -> RowError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    RowError::Malformed { key, reason: reason.to_string() }
}

impl Member {
    pub fn to_message(&self) -> admin::Member {
        let Member { id, name, peer_urls, client_urls, learner, disk_id } = self.clone();
        admin::Member { id, name, peer_urls, client_urls, learner, disk_id }
    }

    pub fn from_message(message: admin::Member) -> Member {
        let admin::Member { id, name, peer_urls, client_urls, learner, disk_id } = message;
        Member { id, name, peer_urls, client_urls, learner, disk_id }
    }

    /// As etcd's Cluster service shows it.
    pub fn to_etcd(&self) -> pb::Member {
        pb::Member {
            id: self.id,
            name: self.name.clone(),
            peer_ur_ls: self.peer_urls.clone(),
            client_ur_ls: self.client_urls.clone(),
            is_learner: self.learner,
        }
    }
}

impl Membership {
    /// Reads the configuration of a view; empty when it was never founded.
    ///
    /// # Errors
    /// The backend's, or a malformed row.
    pub fn load(view: &dyn View) -> Result<Membership, RowError> {
        let mut membership = Membership::default();
        let mut cursor = view.cursor(Family::Members, b"i", Some(b"s"))?;
        while let Some(row) = cursor.next()? {
            match row.key {
                [b'i'] => {
                    let index = row.value.try_into().map_err(|_| malformed(row.key, "the index is not 8 bytes"))?;
                    membership.index = u64::from_be_bytes(index);
                }
                [b'j'] => {
                    let joint = Joint::decode(row.value);
                    membership.joint = Some(joint.ok_or_else(|| malformed(row.key, "no joint configuration"))?);
                }
                [b'm', ..] => {
                    let member = admin::Member::decode(row.value).map_err(|error| malformed(row.key, error))?;
                    membership.members.insert(member.id, Member::from_message(member));
                }
                [b'r', id @ ..] => {
                    let id = id.try_into().map_err(|_| malformed(row.key, "the id is not 8 bytes"))?;
                    membership.removed.insert(u64::from_be_bytes(id));
                }
                key => return Err(malformed(key, "unknown kind of row")),
            }
        }
        Ok(membership)
    }

    /// Writes the rows of these members as they now are (present, or removed), and the rest of the configuration.
    pub fn store(&self, ids: &[MemberId], batch: &mut WriteBatch) {
        for id in ids {
            self.store_member(*id, batch);
        }
        batch.put(Family::Members, Bytes::from_static(b"i"), self.index.to_be_bytes().to_vec());
        match &self.joint {
            Some(joint) => batch.put(Family::Members, Bytes::from_static(b"j"), joint.encode()),
            None => batch.delete(Family::Members, Bytes::from_static(b"j")),
        }
    }

    fn store_member(&self, id: MemberId, batch: &mut WriteBatch) {
        match self.members.get(&id) {
            Some(member) => {
                batch.put(Family::Members, row_key(b'm', id), member.to_message().encode_to_vec());
            }
            None => {
                batch.delete(Family::Members, row_key(b'm', id));
                if self.removed.contains(&id) {
                    batch.put(Family::Members, removed_key(id), Bytes::new());
                }
            }
        }
    }
}

impl Joint {
    /// Format, then both lists as count and ids, big-endian.
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![JOINT_FORMAT];
        for ids in [&self.outgoing, &self.leaving] {
            value.put_u32(u32::try_from(ids.len()).expect("a cluster has a handful of members"));
            ids.iter().for_each(|id| value.put_u64(*id));
        }
        value
    }

    /// `None` when the row is not what `encode` writes.
    fn decode(mut value: &[u8]) -> Option<Joint> {
        let (format, rest) = value.split_first()?;
        value = rest;
        let mut ids = || -> Option<BTreeSet<MemberId>> {
            let (count, rest) = value.split_first_chunk::<4>()?;
            let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
            let (ids, rest) = rest.split_at_checked(count.checked_mul(8)?)?;
            value = rest;
            Some(ids.chunks_exact(8).map(|mut id| id.get_u64()).collect())
        };
        let joint = Joint { outgoing: ids()?, leaving: ids()? };
        let is_joint = !joint.outgoing.is_empty() && joint.leaving.is_subset(&joint.outgoing);
        (*format == JOINT_FORMAT && is_joint && value.is_empty()).then_some(joint)
    }
}
