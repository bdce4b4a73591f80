//! Who leads, and what must hold when the faults are long over: all members stand at the same state.

use quorate_core::log::MemberId;

use crate::cluster::Cluster;
use crate::host::Host;
use crate::taint;

impl Cluster {
    /// The member that leads and knows what is committed, of the highest term.
    pub(crate) fn leader(&self) -> Option<&Host> {
        let term = |host: &&Host| {
            let status = host.process.as_ref()?.node.status();
            (status.leads_with_commit && !host.removed).then_some(status.term)
        };
        self.hosts.values().filter(|host| term(host).is_some()).max_by_key(term)
    }

    /// 0 when nobody leads.
    pub(crate) fn leader_term(&self) -> u64 {
        self.leader().and_then(|host| host.process.as_ref()).map_or(0, |process| process.node.status().term)
    }

    /// No storm of elections, and no change of members that never ends.
    fn check_at_rest(&mut self) {
        let (settled, term) = (self.settled_term, self.leader_term());
        // Under CORRUPT a leader whose data are wrong hands over.
        if settled != term && self.world.corrupt_at < self.settled_at() {
            self.world.violate(format!("term {settled} was led long after the faults ended, and {term} in the end"));
        }
        let joint = |host: &Host| host.process.as_ref().is_some_and(|process| process.machine.membership().is_joint());
        if self.leader().is_some_and(joint) {
            self.world.violate("a joint change has not ended although the faults ended long ago".to_owned());
        }
        self.world.counts.add("clusters without an election at rest");
    }

    pub(crate) fn check_converged(&mut self) {
        let Some(leader) = self.leader() else {
            return self.world.violate("nobody leads although the faults ended long ago".to_owned());
        };
        let members: Vec<MemberId> = leader
            .process
            .iter()
            .flat_map(|process| process.machine.membership().members().map(|member| member.id))
            .collect();
        self.check_at_rest();
        self.check_observers(&members);
        self.check_history();
        // What came later may still be on its way: a lease can end at any time.
        let settled = self.settled_index;
        for id in members {
            let process = self.hosts.get(&id).and_then(|host| host.process.as_ref());
            let Some(process) = process else {
                self.world.violate(format!("member {id} does not run at the end"));
                return;
            };
            let applied = process.machine.applied().index;
            if applied < settled {
                self.world.violate(format!("member {id} stands at entry {applied} at the end, not at {settled}"));
                return;
            }
            if taint::is_wrong(&process.live) {
                self.check_wrong(id);
                continue;
            }
            self.world.hash(id, &process.live);
            let request = quorate_api::etcdserverpb::RangeRequest {
                key: "k".into(),
                range_end: "l".into(),
                ..Default::default()
            };
            match crate::clients::read(process, &request) {
                Ok(answer) => self.world.served(id, applied, &request, &answer),
                Err(error) => self.world.violate(format!("member {id} cannot read at the end: {error}")),
            }
            self.world.counts.add("members converged");
        }
    }
}
