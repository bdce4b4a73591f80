//! The configuration as rows of the `members` family, and as the messages that travel.
//!
//! Rows: `m` ∥ member id → the member; `r` ∥ member id → nothing (removed for ever); `i` → index of the last change.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_api::{admin, etcdserverpb as pb};

use super::{Member, Membership};
use crate::backend::{self, Family, View, WriteBatch};
use crate::log::MemberId;

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

    /// Writes the rows of one member as they now are (present, or removed), and the index.
    pub fn store(&self, id: MemberId, batch: &mut WriteBatch) {
        match self.members.get(&id) {
            Some(member) => {
                batch.put(Family::Members, row_key(b'm', id), member.to_message().encode_to_vec());
            }
            None => {
                batch.delete(Family::Members, row_key(b'm', id));
                if self.removed.contains(&id) {
                    batch.put(Family::Members, row_key(b'r', id), Bytes::new());
                }
            }
        }
        batch.put(Family::Members, Bytes::from_static(b"i"), self.index.to_be_bytes().to_vec());
    }
}
