//! Peers that call from a newer configuration than the one that is applied here. A member that joins, or comes back after a while,
//! replays configurations in which today's leader is not a member yet, or lives elsewhere; it must answer that leader all the same,
//! or the leader stops sending once its window is full and the replay never ends. So a caller says where it is reached, and is
//! believed for as long as its connection lasts and this member knows no better. (etcd's `X-PeerURLs` is for the same.)

use std::collections::BTreeMap;

use quorate_core::log::{Index, MemberId};
use quorate_core::membership::Membership;

/// Callers remembered at once: many times the members that a cluster has.
const VISITORS_MAX: usize = 64;
/// A member has a URL or two; more, or longer ones together, are not remembered.
const URLS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 4096;

/// A caller, and what it said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visitor {
    /// Of its connection: the end of an older one says nothing of this.
    visit: u64,
    /// Of the configuration that its URLs are from.
    index: Index,
    urls: Vec<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    visits: u64,
    visitors: BTreeMap<MemberId, Visitor>,
}

impl Visitors {
    /// Notes where a caller is reached, instead of what it said before. Returns the number of its visit; `None` when there are too
    /// many, or it says too much, and it is heard without being answered.
    pub fn arrived(&mut self, id: MemberId, index: Index, urls: Vec<String>) -> Option<u64> {
        let is_one_too_many = self.visitors.len() >= VISITORS_MAX && !self.visitors.contains_key(&id);
        let bytes: usize = urls.iter().map(String::len).sum();
        if is_one_too_many || urls.len() > URLS_MAX || bytes > URL_BYTES_MAX {
            return None;
        }
        self.visits += 1;
        self.visitors.insert(id, Visitor { visit: self.visits, index, urls });
        Some(self.visits)
    }

    /// The connection of this visit has ended.
    pub fn left(&mut self, id: MemberId, visit: u64) {
        if self.visitors.get(&id).is_some_and(|visitor| visitor.visit == visit) {
            self.visitors.remove(&id);
        }
    }

    /// Whom member `this` talks to and where: the members of the configuration, and callers from a newer one.
    pub fn reachable(&self, this: MemberId, membership: &Membership) -> BTreeMap<MemberId, Vec<String>> {
        let members = membership.members().map(|member| (member.id, &member.peer_urls));
        let newer = self.visitors.iter().filter(|(_, visitor)| visitor.index > membership.index());
        let mut reachable: BTreeMap<MemberId, Vec<String>> = BTreeMap::new();
        for (id, urls) in members.chain(newer.map(|(id, visitor)| (*id, &visitor.urls))) {
            if id != this && !urls.is_empty() {
                reachable.insert(id, urls.clone());
            }
        }
        reachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::membership::{Change, Member};

    fn membership(members: &[(MemberId, &str)]) -> Membership {
        let mut membership = Membership::default();
        for (index, (id, url)) in (1..).zip(members) {
            let member = Member { id: *id, peer_urls: vec![(*url).to_owned()], ..Default::default() };
            membership.apply(index, Change::AddVoter(member));
        }
        membership
    }

    fn shown(visitors: &Visitors, membership: &Membership) -> Vec<(MemberId, String)> {
        visitors.reachable(1, membership).into_iter().map(|(id, urls)| (id, urls.join(","))).collect()
    }

    #[test]
    fn a_caller_from_a_newer_configuration_is_believed_until_that_one_is_applied() {
        let mut visitors = Visitors::default();
        let old = membership(&[(1, "a"), (2, "b")]);
        visitors.arrived(3, 3, vec!["c".into()]).unwrap();
        visitors.arrived(2, 3, vec!["moved".into()]).unwrap();
        assert_eq!(shown(&visitors, &old), [(2, "moved".into()), (3, "c".into())]);
        let new = membership(&[(1, "a"), (2, "moved again"), (4, "d")]);
        assert_eq!(shown(&visitors, &new), [(2, "moved again".into()), (4, "d".into())]);
    }

    #[test]
    fn the_end_of_an_older_connection_forgets_nobody() {
        let mut visitors = Visitors::default();
        let first = visitors.arrived(3, 2, vec!["c".into()]).unwrap();
        let second = visitors.arrived(3, 3, vec!["d".into()]).unwrap();
        visitors.left(3, first);
        assert_eq!(shown(&visitors, &membership(&[(1, "a")])), [(3, "d".into())]);
        visitors.left(3, second);
        assert_eq!(shown(&visitors, &membership(&[(1, "a")])), []);
    }

    #[test]
    fn no_more_than_so_many_callers_and_urls_are_remembered() {
        let mut visitors = Visitors::default();
        for id in 0..VISITORS_MAX as u64 {
            assert!(visitors.arrived(id, 1, Vec::new()).is_some());
        }
        assert_eq!(visitors.arrived(1_000, 1, Vec::new()), None);
        assert!(visitors.arrived(3, 2, vec![String::new(); URLS_MAX]).is_some(), "one that is known may come again");
        assert_eq!(visitors.arrived(3, 3, vec![String::new(); URLS_MAX + 1]), None);
        assert_eq!(visitors.arrived(3, 3, vec!["u".repeat(URL_BYTES_MAX + 1)]), None);
    }
}
