//! The operator, who grows and shrinks the cluster, replaces members (also those whose disk is refused), upgrades the older of two
//! versions and raises the feature level when every member knows it; and what becomes of a change once it is applied.

use quorate_core::command::{self, Command, CommandId, Request};
use quorate_core::feature;
use quorate_core::log::{Index, MemberId};
use quorate_core::membership::{Change, Member, Membership, Proposed, Refused};
use quorate_core::node::{Event, Payload, Proposal};
use quorate_core::replica::Role;

use crate::cluster::{Cluster, What};
use crate::host::{Host, member};
use crate::options::Bug;

/// Entries that a learner may lack when it is promoted.
const PROMOTE_LAG_MAX: u64 = 30;
/// As the server lets joint changes have.
const LEARNERS_MAX: u32 = 2;

/// The cluster as its leader has it applied.
struct Seen {
    leader: MemberId,
    membership: Membership,
    level: u32,
    voters: Vec<MemberId>,
    learners: Vec<MemberId>,
    /// The learners that are heard of and have caught up.
    ready: Vec<MemberId>,
}

fn adds(change: &Change) -> bool {
    match change {
        Change::AddLearner(_) | Change::AddVoter(_) => true,
        Change::Joint(changes) => changes.iter().any(adds),
        _ => false,
    }
}

impl Cluster {
    /// The operator's next step towards the wanted number of voters.
    pub(crate) fn administer(&mut self) {
        if !self.faults {
            return;
        }
        let at = self.now + self.chance.between(200_000, 1_500_000);
        self.at(at, What::Administer);
        if self.chance.percent(8) {
            self.wanted = self.chance.between(1, self.options.members + 1);
        }
        let Some(seen) = self.see() else { return };
        if seen.level < feature::KNOWN && self.chance.percent(60) {
            self.raise_level(&seen);
        }
        let Some(change) = self.next_change(&seen) else { return };
        match seen.voters.last() {
            // Now and then those that join find a leader that is younger than most of the log.
            Some(youngest) if adds(&change) && *youngest != seen.leader && self.chance.percent(40) => {
                self.hand_over(*youngest);
            }
            _ => self.propose_change(&seen, change),
        }
    }

    /// So that who joins meets a leader that is younger than what it replays.
    pub(crate) fn youngest_leads(&mut self) {
        if let Some(youngest) = self.see().and_then(|seen| seen.voters.last().copied()) {
            self.hand_over(youngest);
        }
    }

    /// One more member, when nothing strikes any more.
    pub(crate) fn join(&mut self) {
        let Some(seen) = self.see().filter(|seen| !seen.membership.is_joint()) else { return };
        self.world.counts.add("members added after the faults");
        let fresh = Member { learner: true, ..member(self.next_id) };
        self.propose_change(&seen, Change::AddLearner(fresh));
    }

    fn see(&self) -> Option<Seen> {
        let host = self.leader()?;
        let process = host.process.as_ref()?;
        let membership = process.machine.membership().clone();
        let of = |learner| membership.members().filter(move |m| m.learner == learner).map(|m| m.id).collect();
        let (voters, learners): (_, Vec<MemberId>) = (of(false), of(true));
        let last = process.node.last_index();
        let caught_up = |id: &MemberId| {
            let progress = process.node.progress().into_iter().find(|progress| progress.id == *id);
            progress.is_some_and(|one| one.recently_active && one.match_index + PROMOTE_LAG_MAX >= last)
        };
        let ready = learners.iter().copied().filter(caught_up).collect();
        Some(Seen { leader: host.id, level: process.machine.feature_level(), membership, voters, learners, ready })
    }

    /// Raises the feature level by one when every member knows the next; else the next older member is upgraded.
    fn raise_level(&mut self, seen: &Seen) {
        let next = seen.level + 1;
        let knows = |id: MemberId| self.hosts.get(&id).is_some_and(|host| host.knows >= next);
        let behind = seen.membership.members().map(|member| member.id).find(|id| !knows(*id));
        match behind.filter(|_| self.options.bug != Some(Bug::RaiseEarly)) {
            Some(id) => self.upgrade(id),
            None => self.propose_as(seen.leader, |id| {
                let request = Request::FeatureLevel(next);
                let command = Command { id, user: String::new(), auth_revision: 0, request };
                Payload::Command(command::encode(&command))
            }),
        }
    }

    /// The member is stopped and comes back with the newer version.
    fn upgrade(&mut self, id: MemberId) {
        let Some(mut host) = self.hosts.remove(&id) else { return };
        self.world.counts.add("members upgraded");
        self.mark(id, "is upgraded", [0, 0, 0]);
        host.knows = feature::KNOWN;
        self.crash(&mut host, false);
        self.hosts.insert(id, host);
    }

    /// The server's check before proposing, and the proposal.
    fn propose_change(&mut self, seen: &Seen, change: Change) {
        let proposed = |id| Proposed { id, change: change.clone(), expected_index: None, learners_max: LEARNERS_MAX };
        match seen.membership.check(&proposed(CommandId::default()), seen.level) {
            Err(Refused::FeatureLevel { .. }) => self.world.counts.add("joint changes refused below their level"),
            Err(_) => {}
            Ok(()) => {
                for id in change.members() {
                    self.next_id = self.next_id.max(id + 1);
                }
                self.propose_as(seen.leader, |id| Payload::Change(proposed(id)));
            }
        }
    }

    fn propose_as(&mut self, leader: MemberId, payload: impl FnOnce(CommandId) -> Payload) {
        let Some(process) = self.hosts.get_mut(&leader).and_then(|host| host.process.as_mut()) else { return };
        process.next_counter += 1;
        let id = CommandId { member: leader, boot: process.boot, counter: process.next_counter };
        let proposal = Proposal { id, payload: payload(id) };
        self.tell_member(leader, Event::Propose(proposal));
    }

    fn next_change(&mut self, seen: &Seen) -> Option<Change> {
        let Seen { membership, voters, learners, ready, .. } = seen;
        if membership.is_joint() {
            // Whoever leads ends it.
            return None;
        }
        // First of all a member that cannot start goes; the next step adds a fresh one.
        let is_broken = |id: &MemberId| self.hosts.get(id).is_some_and(|host| host.broken.is_some());
        if let Some(broken) = membership.members().map(|m| m.id).find(is_broken) {
            return Some(Change::Remove(broken));
        }
        let (count, wanted) = (voters.len() as u64, self.wanted);
        if !learners.is_empty() {
            return self.place_learners(voters, learners, ready);
        }
        let add = |id| Change::AddLearner(Member { learner: true, ..member(id) });
        let fresh = self.next_id;
        match count {
            count if count + 2 <= wanted && self.chance.percent(60) => {
                Some(Change::Joint(vec![add(fresh), add(fresh + 1)]))
            }
            count if count < wanted => Some(add(fresh)),
            count if count >= wanted + 2 && self.chance.percent(60) => {
                Some(Change::Joint(self.pick_two(voters).into_iter().map(Change::Remove).collect()))
            }
            count if count > wanted => Some(Change::Remove(self.chance.pick(voters))),
            // A replacement begins.
            _ => self.chance.percent(30).then(|| add(fresh)),
        }
    }

    /// Learners that have caught up get votes, together, and in the place of voters when there are enough; others may be given up.
    fn place_learners(&mut self, voters: &[MemberId], learners: &[MemberId], ready: &[MemberId]) -> Option<Change> {
        if ready.len() < learners.len() {
            let remove = || learners.iter().copied().map(Change::Remove);
            let all = if learners.len() > 1 { Change::Joint(remove().collect()) } else { remove().next()? };
            return self.chance.percent(5).then_some(all);
        }
        let after = (voters.len() + ready.len()) as u64;
        let surplus = usize::try_from(after.saturating_sub(self.wanted)).unwrap_or(usize::MAX);
        let mut changes: Vec<Change> = ready.iter().copied().map(Change::Promote).collect();
        if surplus == 0 && changes.len() == 1 {
            return changes.pop();
        }
        let mut gone = self.pick_two(voters);
        gone.truncate(surplus);
        changes.extend(gone.into_iter().map(Change::Remove));
        Some(Change::Joint(changes))
    }

    /// Two of them, or all when there are fewer.
    fn pick_two(&mut self, from: &[MemberId]) -> Vec<MemberId> {
        let first = self.chance.pick(from);
        let others: Vec<MemberId> = from.iter().copied().filter(|id| *id != first).collect();
        let mut two = vec![first];
        if !others.is_empty() {
            two.push(self.chance.pick(&others));
        }
        two
    }

    /// What a host applied at `index`: the operator starts machines for added members, and removed ones go, after they told others
    /// what they know.
    pub(crate) fn changed(&mut self, host: &Host, index: Index, before: &Membership, change: &Change) {
        let Some(process) = &host.process else { return };
        let after = process.machine.membership().clone();
        let leads = process.node.status().role == Role::Leader;
        let first = self.changes.insert(index);
        if first {
            match change {
                Change::Joint(_) => self.world.counts.add("joint changes begun"),
                Change::Leave => self.world.counts.add("joint changes ended"),
                _ => {}
            }
        }
        for member in after.members().filter(|_| first) {
            match before.get(member.id) {
                None if index > self.founded => {
                    self.world.counts.add("members added");
                    self.add_host(member.id, Membership::seeded(after.members().cloned()));
                }
                Some(was) if was.learner && !member.learner => {
                    self.world.counts.add("learners promoted");
                    let promoted = if member.id == host.id { Some(host) } else { self.hosts.get(&member.id) };
                    if promoted.is_some_and(|promoted| !promoted.was_sent_snapshot) {
                        self.world.counts.add("learners that caught up by the log alone");
                    }
                }
                _ => {}
            }
        }
        for gone in before.members().filter(|member| after.get(member.id).is_none()) {
            if first {
                self.world.counts.add("members removed");
            }
            if let Some(broken) = self.hosts.get_mut(&gone.id).filter(|host| host.broken.is_some() && !host.removed) {
                broken.removed = true;
                self.world.counts.add("damaged members replaced");
            }
            if gone.id == host.id {
                if leads {
                    self.world.counts.add("leaders removed");
                }
                self.at(self.now + 1_000_000, What::Gone { id: gone.id });
            }
        }
    }

    /// A member of the older version stops at what it cannot read: it must never be asked to.
    pub(crate) fn check_known(&mut self, host: &Host, level: u32) {
        if level > feature::FOUNDING {
            self.world.counts.add("entries of a higher level applied");
        }
        if level > host.knows {
            self.world.violate(format!("member {} knows feature level {} and must apply {level}", host.id, host.knows));
        }
    }
}
