//! When a member begins and ceases to keep the times of leases: it leads, and knows what is committed.

use crate::node::Status;
use crate::replica::Role;

/// What follows for leases when the state of the node changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Every lease gets its whole time anew.
    Promote {
        term: u64,
    },
    Demote,
    Unchanged,
}

impl Duty {
    /// `before` is what was last looked at; `None` = nothing yet.
    pub fn after(before: Option<&Status>, now: &Status) -> Duty {
        let leads = |status: &Status| status.role == Role::Leader && status.leads_with_commit;
        let led = before.is_some_and(leads);
        let same_term = before.is_some_and(|before| before.term == now.term);
        match leads(now) {
            true if !(led && same_term) => Duty::Promote { term: now.term },
            false if led => Duty::Demote,
            _ => Duty::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(leads: bool, term: u64) -> Status {
        Status {
            role: if leads { Role::Leader } else { Role::Follower },
            leader: 1,
            term,
            commit: 9,
            applied: 9,
            leads_with_commit: leads,
            sole_voter: false,
        }
    }

    #[test]
    fn each_leadership_is_a_promotion_of_its_own() {
        let (follows, leads, leads_again) = (status(false, 3), status(true, 3), status(true, 5));
        assert_eq!(Duty::after(None, &follows), Duty::Unchanged);
        assert_eq!(Duty::after(None, &leads), Duty::Promote { term: 3 });
        assert_eq!(Duty::after(Some(&follows), &leads), Duty::Promote { term: 3 });
        assert_eq!(Duty::after(Some(&leads), &leads), Duty::Unchanged);
        assert_eq!(Duty::after(Some(&leads), &leads_again), Duty::Promote { term: 5 });
        assert_eq!(Duty::after(Some(&leads), &follows), Duty::Demote);
        let elected = Status { leads_with_commit: false, ..leads };
        assert_eq!(Duty::after(Some(&follows), &elected), Duty::Unchanged, "it does not know yet what is committed");
    }
}
