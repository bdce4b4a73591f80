//! Members moved by hand: whoever writes the test says which message arrives, which disk syncs and who loses power, so that a case is
//! drawn and not found by the luck of a seed.

use super::*;

/// A cluster without chance of its own. Members that were founded vote; every other id up to `last` is a fresh one that waits.
pub(super) struct Hand {
    pub cluster: Cluster,
    /// What is sent from one of these to another of a pair is lost.
    pub cut: BTreeSet<(MemberId, MemberId)>,
    /// Nothing that these hand to their logs becomes durable.
    pub stalled: BTreeSet<MemberId>,
    /// Whatever these are handed to apply meets damage.
    pub damaged: BTreeSet<MemberId>,
    counter: u64,
}

/// Rounds within which a cluster without faults comes to rest.
const ROUNDS_MAX: usize = 2_000;

impl Hand {
    pub fn found(founders: &[MemberId], last: MemberId) -> Hand {
        let (cut, stalled, damaged) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Hand { cluster: Cluster::with(1, founders, last, NEVER), cut, stalled, damaged, counter: 0 }
    }

    pub fn host(&self, id: MemberId) -> &Host {
        &self.cluster.hosts[&id]
    }

    pub fn node(&self, id: MemberId) -> &Node {
        self.host(id).node.as_ref().unwrap()
    }

    pub fn status(&self, id: MemberId) -> Status {
        self.node(id).status()
    }

    /// Gives a member an event and performs all that follows on it; what it sends waits on the network.
    pub fn act(&mut self, id: MemberId, event: Option<Event>) {
        self.cluster.turn(id, event);
        for _ in 0..ROUNDS_MAX {
            if self.stalled.contains(&id) {
                let host = self.cluster.hosts.get_mut(&id).unwrap();
                host.effects.retain(|effect| !matches!(effect, Effect::Persist { .. }));
            }
            if self.damaged.contains(&id) {
                self.meet_damage(id);
            }
            if self.host(id).node.is_none() || self.host(id).effects.is_empty() && self.host(id).events.is_empty() {
                return;
            }
            self.cluster.perform(id);
            if self.host(id).effects.is_empty() {
                self.cluster.turn(id, None);
            }
        }
        panic!("member {id} does not come to rest");
    }

    fn meet_damage(&mut self, id: MemberId) {
        let host = self.cluster.hosts.get_mut(&id).unwrap();
        for effect in std::mem::take(&mut host.effects) {
            match effect {
                Effect::Apply(entries) => host.events.push(Event::CannotApply { entries }),
                Effect::ApplyChange { entry, .. } => host.events.push(Event::CannotApply { entries: vec![entry] }),
                other => host.effects.push_back(other),
            }
        }
    }

    /// Delivers everything that is on the way now, but what is cut; answers to it stay on the way.
    pub fn deliver(&mut self) {
        for (from, to, event) in std::mem::take(&mut self.cluster.network) {
            if !self.cut.contains(&(from, to)) {
                self.act(to, Some(event));
            }
        }
    }

    /// Until nothing is on the way.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.cluster.network.is_empty() {
                return;
            }
            self.deliver();
        }
        panic!("the cluster does not come to rest");
    }

    pub fn tick(&mut self, id: MemberId) {
        self.act(id, Some(Event::Tick));
    }

    /// Time passes for all members; messages arrive between two ticks.
    pub fn pass(&mut self, ticks: usize) {
        let all: Vec<MemberId> = self.cluster.hosts.keys().copied().collect();
        self.pass_of(&all, ticks);
    }

    /// Time passes for these.
    pub fn pass_of(&mut self, ids: &[MemberId], ticks: usize) {
        for _ in 0..ticks {
            ids.iter().for_each(|id| self.tick(*id));
            self.settle();
        }
    }

    /// Only this member's clock runs until it leads.
    pub fn elect(&mut self, id: MemberId) {
        for _ in 0..4 * ELECTION_TICKS {
            if self.status(id).leads_with_commit {
                return;
            }
            self.tick(id);
            self.settle();
        }
        panic!("member {id} does not lead: {:?}", self.status(id));
    }

    /// Loses power and starts on what is durable.
    pub fn restart(&mut self, id: MemberId) {
        let host = self.cluster.hosts.get_mut(&id).unwrap();
        host.crash();
        host.start(id, 1);
        self.act(id, None);
    }

    pub fn stop(&mut self, id: MemberId) {
        self.cluster.hosts.get_mut(&id).unwrap().crash();
    }

    /// Cuts a member off, in both directions.
    pub fn isolate(&mut self, id: MemberId) {
        for other in self.cluster.hosts.keys() {
            self.cut.extend([(id, *other), (*other, id)]);
        }
    }

    pub fn propose(&mut self, id: MemberId) -> u64 {
        self.counter += 1;
        self.cluster.propose(id, self.counter);
        self.act(id, None);
        self.counter
    }

    pub fn change(&mut self, id: MemberId, change: Change) {
        self.cluster.change(id, change);
        self.act(id, None);
    }

    pub fn read(&mut self, id: MemberId) {
        self.cluster.read(id);
        self.act(id, None);
    }

    pub fn voters(&self, id: MemberId) -> Vec<MemberId> {
        self.host(id).membership.conf_state().voters
    }

    /// A proposal of `id` is carried out everywhere that is not cut.
    pub fn assert_works(&mut self, id: MemberId) {
        let counter = self.propose(id);
        self.settle();
        assert!(self.cluster.world.acknowledged.contains_key(&counter), "member {id}: {:?}", self.status(id));
    }
}
