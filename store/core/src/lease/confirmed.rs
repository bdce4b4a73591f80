//! What may be done with leases once leadership was confirmed: only in the very term whose times these are.
//!
//! A leader that was stopped must not promise what its successor never saw. So every question is asked after a confirmation
//! that began after it, and is answered only if the confirmed term is that of this leadership. And only when everything is applied
//! that was committed by then: another member may apply faster, and its clients know already of a grant or a revocation that this
//! leader has not applied (found by the simulator: a lease lived on for a client that had been told of its revocation).

use super::{Due, Leases, Remaining, Renewal};

/// The confirmed term is not the one in which this member keeps the times: ask whoever leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leadership of term {confirmed} was confirmed, the leases are kept for {kept:?}: ask the leader again")]
pub struct OtherTerm {
    pub confirmed: u64,
    pub kept: Option<u64>,
}

/// What the memory says about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<T> {
    Known(T),
    Missing,
    /// Its expiry was proposed, or is about to be.
    Expiring,
}

impl Leases {
    fn confirmed_in(&self, term: u64) -> Result<(), OtherTerm> {
        let kept = self.term();
        if kept == Some(term) { Ok(()) } else { Err(OtherTerm { confirmed: term, kept }) }
    }

    /// Renews a lease for a request that arrived at `arrived_ms`, after leadership of `term` was confirmed; its TTL in seconds.
    ///
    /// # Errors
    /// [`OtherTerm`].
    pub fn keep_alive(&mut self, now_ms: u64, arrived_ms: u64, term: u64, id: i64) -> Result<Found<i64>, OtherTerm> {
        self.confirmed_in(term)?;
        Ok(match self.renew(now_ms, arrived_ms, id) {
            Renewal::Renewed { ttl_s } => Found::Known(ttl_s),
            Renewal::Missing => Found::Missing,
            Renewal::Expiring => Found::Expiring,
        })
    }

    /// The time that a lease has left, after leadership of `term` was confirmed.
    ///
    /// # Errors
    /// [`OtherTerm`].
    pub fn time_to_live(&self, now_ms: u64, term: u64, id: i64) -> Result<Found<Remaining>, OtherTerm> {
        self.confirmed_in(term)?;
        Ok(self.remaining(now_ms, id).map_or(Found::Missing, Found::Known))
    }

    /// Marks those of `due` that still are over, after leadership of `term` was confirmed: their expiry is to be proposed. None
    /// when the times are another term's.
    pub fn begin_expiry(&mut self, now_ms: u64, term: u64, due: Vec<Due>) -> Vec<Due> {
        if self.confirmed_in(term).is_err() {
            return Vec::new();
        }
        due.into_iter().filter(|due| self.expire(now_ms, *due)).collect()
    }

    /// Whether an expiry that was begun in `term` has no outcome yet, so that it is proposed again. That is harmless: it names
    /// the lease by its grant, and the term in which alone it has effect.
    pub fn awaits_outcome(&self, term: u64, due: Due) -> bool {
        self.term() == Some(term) && self.is_expiring(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_under_a_term_that_is_not_the_one_whose_times_these_are() {
        let mut leases = Leases::default();
        leases.grant(0, 7, 2, 5);
        let other = |kept| OtherTerm { confirmed: 4, kept };
        assert_eq!(leases.keep_alive(0, 0, 4, 7), Err(other(None)));
        leases.promote(0, 3, 1_000);
        assert_eq!(leases.keep_alive(0, 0, 4, 7), Err(other(Some(3))));
        assert_eq!(leases.time_to_live(0, 4, 7), Err(other(Some(3))));
        assert_eq!(leases.keep_alive(0, 0, 3, 7), Ok(Found::Known(2)));
        let due = leases.due(10_000, 9);
        assert_eq!(leases.begin_expiry(10_000, 4, due.clone()), vec![]);
        assert_eq!(leases.begin_expiry(10_000, 3, due.clone()), due);
        assert!(leases.awaits_outcome(3, due[0]) && !leases.awaits_outcome(4, due[0]));
        assert_eq!(leases.keep_alive(10_000, 10_000, 3, 7), Ok(Found::Expiring));
    }
}
