//! Cluster and member ids, made exactly as etcd makes them: the same flags give the same ids.

use sha1::{Digest, Sha1};

use super::{Change, Member, Proposed};
use crate::command::CommandId;
use crate::log::MemberId;

/// The ids of a cluster that is founded, and the changes that its first log entries hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    pub cluster_id: u64,
    /// Ascending by id, which is the order of the entries.
    pub members: Vec<Member>,
}

impl Founding {
    /// The changes of entries 1..=n (term 1, committed by decree).
    pub fn changes(&self) -> Vec<Proposed> {
        self.members
            .iter()
            .map(|member| Proposed {
                id: CommandId::default(),
                change: Change::AddVoter(member.clone()),
                expected_index: None,
                learners_max: 0,
            })
            .collect()
    }

    pub fn by_name(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Founds a cluster of `(name, peer URLs, disk id)` under a token. Member id = first 8 bytes of sha1(sorted peer URLs joined ∥ token);
/// cluster id = the same of the ascending ids as 8-byte big-endian.
pub fn founding(members: &[(String, Vec<String>, String)], token: &str) -> Founding {
    let mut made: Vec<Member> = members
        .iter()
        .map(|(name, peer_urls, disk_id)| {
            let mut peer_urls = peer_urls.clone();
            peer_urls.sort();
            let id = first_8_bytes(&[peer_urls.concat().as_bytes(), token.as_bytes()]);
            Member { id, name: name.clone(), peer_urls, disk_id: disk_id.clone(), ..Default::default() }
        })
        .collect();
    made.sort_by_key(|member| member.id);
    let ids: Vec<[u8; 8]> = made.iter().map(|member| member.id.to_be_bytes()).collect();
    Founding { cluster_id: first_8_bytes(&[ids.concat().as_slice()]), members: made }
}

/// The id of a member that joins later: sha1(sorted peer URLs joined ∥ unix seconds in decimal).
pub fn added_member_id(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    let mut peer_urls = peer_urls.to_vec();
    peer_urls.sort();
    first_8_bytes(&[peer_urls.concat().as_bytes(), unix_seconds.to_string().as_bytes()])
}

/// The id of the cluster that a survivor makes of one that lost its quorum for ever: sha1(old id ∥ survivor's id, 8 bytes big-endian each ∥
/// incident). Neither the old id nor 0: the old cluster's members must never take the survivor for one of theirs.
pub fn recovered_cluster_id(cluster_id: u64, survivor: MemberId, incident: &str) -> u64 {
    let made = first_8_bytes(&[&cluster_id.to_be_bytes(), &survivor.to_be_bytes(), incident.as_bytes()]);
    let mut candidates = (0..3).map(|more| made.wrapping_add(more));
    candidates.find(|id| *id != 0 && *id != cluster_id).expect("of three ids in a row two are free at least")
}

fn first_8_bytes(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_gives_for_its_default_flags() {
        // What `etcd` without flags prints: member 8e9e05c52164694d of cluster cdf818194e3a8c32.
        let founded =
            founding(&[("default".into(), vec!["http://localhost:2380".into()], String::new())], "etcd-cluster");
        assert_eq!(format!("{:x}", founded.cluster_id), "cdf818194e3a8c32");
        assert_eq!(format!("{:x}", founded.members[0].id), "8e9e05c52164694d");
    }

    #[test]
    fn ids_do_not_depend_on_the_order_of_flags() {
        let a = ("a".to_owned(), vec!["http://a:1".to_owned(), "http://a:2".to_owned()], String::new());
        let b = ("b".to_owned(), vec!["http://b:1".to_owned()], String::new());
        let reversed = ("a".to_owned(), a.1.iter().rev().cloned().collect(), String::new());
        assert_eq!(founding(&[a, b.clone()], "t"), founding(&[b, reversed], "t"));
    }

    #[test]
    fn a_recovered_cluster_has_an_id_of_its_own_that_names_cluster_survivor_and_incident() {
        let id = recovered_cluster_id(7, 1, "lost-1");
        assert_eq!(format!("{id:016x}"), "ef977669fdd0c33b", "the same on every version, so that a repeat is the same");
        for other in [(8, 1, "lost-1"), (7, 2, "lost-1"), (7, 1, "lost-2"), (id, 1, "lost-1")] {
            let (cluster, survivor, incident) = other;
            let made = recovered_cluster_id(cluster, survivor, incident);
            assert!(![0, 7, id, cluster].contains(&made), "{other:?} gives {made:x}");
        }
    }
}
