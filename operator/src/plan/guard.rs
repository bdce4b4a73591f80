//! The guards of membership, each with a name: where one refuses, a condition says so, and the exploration in `model`
//! must find a violation when any of the planted ones is taken away.

/// A guard that a test can take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No founding where any record, mark or member shows that a cluster exists (invariant 1).
    FoundOnce,
    /// Founding repeats only on the disk named in the latch (rule A).
    FoundSameDisk,
    /// A learner's disk must be the one that it was added for (rule B, invariant 16).
    DiskIdentity,
    /// Votes before and after a change must be there (rule D, invariant 3).
    Votes,
    /// A member without evidence against it is not replaced (rule E, invariant 13).
    Evidence,
    /// A volume goes only when its member is out of the configuration (invariant 5).
    MemberGone,
}

/// `holds`, unless a test took the guard away.
pub fn guard(which: Guard, holds: bool) -> bool {
    holds || is_removed(which)
}

#[cfg(not(test))]
fn is_removed(_: Guard) -> bool {
    false
}

#[cfg(test)]
fn is_removed(which: Guard) -> bool {
    planted::REMOVED.with(|removed| removed.get() == Some(which))
}

#[cfg(test)]
pub(super) mod planted {
    use std::cell::Cell;

    use super::Guard;

    thread_local! {
        pub static REMOVED: Cell<Option<Guard>> = const { Cell::new(None) };
    }
}

/// Votes that decide among `voters`.
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// Why a change of the voters is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "{healthy} of {voters} voters are healthy and {needed} are needed for any change: bring a member back first"
    )]
    Before { healthy: usize, voters: usize, needed: usize },
    #[error(
        "{healthy} of the {voters} voters after the change would be healthy and {needed} are needed: bring a member back first"
    )]
    After { healthy: usize, voters: usize, needed: usize },
    #[error(
        "after the change no further member could fail, while now one can: bring the unhealthy member back or let it be replaced first"
    )]
    Margin,
}

/// One configuration: its voters and how many of them are healthy.
#[derive(Debug, Clone, Copy)]
pub struct Votes {
    pub voters: usize,
    pub healthy: usize,
}

impl Votes {
    fn margin(self) -> Option<usize> {
        self.healthy.checked_sub(quorum(self.voters))
    }
}

/// Rule D: votes on both sides of a change, and no loss of margin beyond what the new size implies.
pub fn votes(before: Votes, after: Votes) -> Result<(), Refusal> {
    assert!(before.healthy <= before.voters);
    assert!(after.healthy <= after.voters);
    let needed = quorum(before.voters);
    let Some(margin_before) = before.margin() else {
        return Err(Refusal::Before { healthy: before.healthy, voters: before.voters, needed });
    };
    let needed = quorum(after.voters);
    let Some(margin_after) = after.margin() else {
        return Err(Refusal::After { healthy: after.healthy, voters: after.voters, needed });
    };
    // A set of two has no margin even when it is whole, and one of three after losing one has none either.
    let inherent = after.voters - needed;
    if margin_after < margin_before.min(1).min(inherent) {
        return Err(Refusal::Margin);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_there_before_and_after_every_change() {
        let votes_of = |voters, healthy| Votes { voters, healthy };
        for (before, after, expected) in [
            ((1, 1), (2, 2), Ok(())),
            ((2, 2), (3, 3), Ok(())),
            ((3, 3), (2, 2), Ok(())),
            ((2, 2), (1, 1), Ok(())),
            // The dead one of three may go, a live one beside it may not.
            ((3, 2), (2, 2), Ok(())),
            ((3, 2), (2, 1), Err(Refusal::After { healthy: 1, voters: 2, needed: 2 })),
            ((3, 1), (2, 1), Err(Refusal::Before { healthy: 1, voters: 3, needed: 2 })),
            ((5, 4), (4, 3), Err(Refusal::Margin)),
            ((5, 4), (4, 4), Ok(())),
            ((5, 5), (4, 4), Ok(())),
        ] {
            let got = votes(votes_of(before.0, before.1), votes_of(after.0, after.1));
            assert_eq!(got, expected, "{before:?} -> {after:?}");
        }
    }
}
