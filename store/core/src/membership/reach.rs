//! Whom a member can send to: the members of the configuration that it has applied, and callers from a newer one. A member that joins, or
//! comes back after a while, replays configurations in which today's leader is not a member yet, or lives elsewhere; it must answer
//! that leader all the same, or the leader stops sending once its window is full and the replay never ends. So a caller says where it is
//! reached, and is believed for as long as its connection lasts and this member knows no better. (etcd's `X-PeerURLs` is for the same.)

use std::collections::{BTreeMap, BTreeSet};

use super::Membership;
use crate::log::{Index, MemberId};

/// Callers remembered at once: many times the members that a cluster has.
const VISITORS_MAX: usize = 64;
/// A member has a URL or two; more, or longer ones together, are not remembered.
const URLS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 4096;

/// What a caller says of itself when it has connected, and again when its configuration has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Of the configuration that the URLs are from.
    pub index: Index,
    pub urls: Vec<String>,
}

impl Word {
    /// What member `this` says to one that was `told` by the configuration with this index; `None` while nothing is new, or while it is
    /// no member in its own configuration: one that joins connects before it is.
    pub fn new(this: MemberId, membership: &Membership, told: Option<Index>) -> Option<Word> {
        let index = membership.index();
        let member = membership.get(this).filter(|_| told != Some(index))?;
        Some(Word { index, urls: member.peer_urls.clone() })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Visitor {
    /// Of its connection: the end of an older one says nothing of this.
    visit: u64,
    word: Word,
}

/// See the module. The configuration is handed in each time.
#[derive(Debug, Default)]
pub struct Reach {
    visits: u64,
    visitors: BTreeMap<MemberId, Visitor>,
}

impl Reach {
    /// Notes where a caller is reached, instead of what it said before. Returns the number of its visit; `None` when there are too
    /// many, or it says too much, and it is heard without being answered.
    pub fn arrived(&mut self, id: MemberId, word: Word) -> Option<u64> {
        let is_one_too_many = self.visitors.len() >= VISITORS_MAX && !self.visitors.contains_key(&id);
        let bytes: usize = word.urls.iter().map(String::len).sum();
        if is_one_too_many || word.urls.len() > URLS_MAX || bytes > URL_BYTES_MAX {
            return None;
        }
        self.visits += 1;
        self.visitors.insert(id, Visitor { visit: self.visits, word });
        Some(self.visits)
    }

    /// The connection of this visit has ended.
    pub fn left(&mut self, id: MemberId, visit: u64) {
        if self.visitors.get(&id).is_some_and(|visitor| visitor.visit == visit) {
            self.visitors.remove(&id);
        }
    }

    /// Where member `this` reaches another; empty when it does not.
    pub fn urls<'a>(&'a self, this: MemberId, membership: &'a Membership, id: MemberId) -> &'a [String] {
        if id == this {
            return &[];
        }
        let word = self.visitors.get(&id).map(|visitor| &visitor.word).filter(|word| word.index > membership.index());
        match (word, membership.get(id)) {
            (Some(word), _) if !word.urls.is_empty() => &word.urls,
            (_, Some(member)) => &member.peer_urls,
            _ => &[],
        }
    }

    /// Everybody whom member `this` reaches.
    pub fn ids(&self, this: MemberId, membership: &Membership) -> BTreeSet<MemberId> {
        let known = membership.members().map(|member| member.id).chain(self.visitors.keys().copied());
        known.filter(|id| !self.urls(this, membership, *id).is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Member;

    fn membership(members: &[(MemberId, &str)]) -> Membership {
        let member =
            |(id, url): &(MemberId, &str)| Member { id: *id, peer_urls: vec![(*url).to_owned()], ..Default::default() };
        Membership::seeded(members.iter().map(member))
    }

    fn word(index: Index, url: &str) -> Word {
        Word { index, urls: vec![url.to_owned()] }
    }

    fn shown(reach: &Reach, membership: &Membership) -> Vec<(MemberId, String)> {
        let urls = |id| (id, reach.urls(1, membership, id).join(","));
        reach.ids(1, membership).into_iter().map(urls).collect()
    }

    #[test]
    fn a_caller_from_a_newer_configuration_is_believed_until_that_one_is_applied() {
        let mut reach = Reach::default();
        let old = membership(&[(1, "a"), (2, "b")]);
        reach.arrived(3, word(3, "c")).unwrap();
        reach.arrived(2, word(3, "moved")).unwrap();
        assert_eq!(shown(&reach, &old), [(2, "moved".into()), (3, "c".into())]);
        let new = membership(&[(1, "a"), (2, "moved again"), (4, "d")]);
        assert_eq!(shown(&reach, &new), [(2, "moved again".into()), (4, "d".into())]);
    }

    #[test]
    fn a_caller_without_a_place_is_reached_where_the_configuration_has_it() {
        let mut reach = Reach::default();
        reach.arrived(2, Word { index: 9, urls: Vec::new() }).unwrap();
        reach.arrived(3, Word { index: 9, urls: Vec::new() }).unwrap();
        assert_eq!(shown(&reach, &membership(&[(1, "a"), (2, "b")])), [(2, "b".into())]);
    }

    #[test]
    fn the_end_of_an_older_connection_forgets_nobody() {
        let mut reach = Reach::default();
        let first = reach.arrived(3, word(2, "c")).unwrap();
        let second = reach.arrived(3, word(3, "d")).unwrap();
        reach.left(3, first);
        assert_eq!(shown(&reach, &membership(&[(1, "a")])), [(3, "d".into())]);
        reach.left(3, second);
        assert_eq!(shown(&reach, &membership(&[(1, "a")])), []);
    }

    #[test]
    fn a_member_says_where_it_is_once_by_each_configuration_that_has_it() {
        let both = membership(&[(1, "a"), (2, "b")]);
        assert_eq!(Word::new(2, &both, None), Some(word(2, "b")));
        assert_eq!(Word::new(2, &both, Some(1)), Some(word(2, "b")));
        assert_eq!(Word::new(2, &both, Some(2)), None);
        assert_eq!(Word::new(3, &both, None), None);
    }

    #[test]
    fn no_more_than_so_many_callers_and_urls_are_remembered() {
        let mut reach = Reach::default();
        let urls = |count| Word { index: 3, urls: vec![String::new(); count] };
        for id in 0..VISITORS_MAX as u64 {
            assert!(reach.arrived(id, urls(0)).is_some());
        }
        assert_eq!(reach.arrived(1_000, urls(0)), None);
        assert!(reach.arrived(3, urls(URLS_MAX)).is_some(), "one that is known may come again");
        assert_eq!(reach.arrived(3, urls(URLS_MAX + 1)), None);
        assert_eq!(reach.arrived(3, word(3, &"u".repeat(URL_BYTES_MAX + 1))), None);
    }
}
