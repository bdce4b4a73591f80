//! Identities: cluster and member ids as 16 hex digits, and how they are made.
//!
//! Founding ids follow the server's rule (store design, section 10): member id = first 8 bytes, big-endian, of
//! sha1(peer URLs joined ∥ token), cluster id the same of the sorted member ids; the token is the UID of the
//! `QuorateCluster`, so that a re-created one never gets the ids of its predecessor.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

/// Id of a cluster or a member; never 0. Written as 16 hex digits, because JSON readers round large numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(pub u64);

/// The text is not 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: 16 lower-case hex digits are wanted")]
pub struct InvalidId {
    text: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { text: text.to_owned() };
        if text.len() != 16 {
            return Err(invalid());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

impl TryFrom<String> for Id {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

/// Id of the member that founds a cluster.
pub fn founding_member(peer_url: &str, owner_uid: &str) -> Id {
    first_eight(Sha1::new().chain_update(peer_url).chain_update(owner_uid))
}

/// Id of a cluster founded by this one member.
pub fn founding_cluster(member: Id) -> Id {
    first_eight(Sha1::new().chain_update(member.0.to_be_bytes()))
}

/// Id under which a disk joins. It depends on the disk and on the configuration index, so that planning twice gives
/// one id, and neither another disk nor a later attempt ever gets the same.
pub fn joining_member(peer_url: &str, disk_id: &str, configuration_index: u64) -> Id {
    first_eight(
        Sha1::new().chain_update(peer_url).chain_update(disk_id).chain_update(configuration_index.to_be_bytes()),
    )
}

fn first_eight(hash: Sha1) -> Id {
    let digest = hash.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    Id(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_survives_text() {
        let id = Id(0x00ab_cdef_0123_4567);
        assert_eq!(id.to_string(), "00abcdef01234567");
        assert_eq!("00abcdef01234567".parse(), Ok(id));
        assert!("abcdef".parse::<Id>().is_err());
    }

    #[test]
    fn another_disk_or_a_later_attempt_never_gets_the_same_id() {
        let id = joining_member("https://a:2380", "d1", 7);
        assert_eq!(id, joining_member("https://a:2380", "d1", 7));
        assert_ne!(id, joining_member("https://a:2380", "d2", 7));
        assert_ne!(id, joining_member("https://a:2380", "d1", 8));
    }
}
