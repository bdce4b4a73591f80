//! What a recovery does to the replicated state: nothing of the data, all of the configuration.

use super::{Turn, alarm};
use crate::backend::Family;
use crate::log::{Index, Term};
use crate::membership::{self, Member};

impl Turn<'_> {
    /// Leaves `survivor` as the only member, as if an entry at `index` had said so; the only one of its turn. Alarms of those that are
    /// lost go with them: nobody is left to take them back, and they would refuse the writes of all.
    pub fn recover(&mut self, index: Index, term: Term, survivor: Member) {
        assert!(self.outcomes.is_empty() && self.change.is_none(), "a recovery has a turn of its own");
        self.advance(index, term);
        let id = survivor.id;
        let membership = &mut self.machine.membership;
        if membership.is_removed(id) {
            self.rows.delete(Family::Members, membership::removed_key(id));
        }
        self.members.extend(membership.recover(index, survivor));
        self.members_changed = true;
        let lost: Vec<_> =
            self.machine.alarms.raised.extract_if(.., |(_, member)| membership.is_removed(*member)).collect();
        for (alarm, member) in lost {
            self.rows.delete(Family::Meta, alarm::row_key(alarm, member));
            self.alarms_changed = true;
        }
    }
}
