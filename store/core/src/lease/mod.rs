//! When leases expire: the memory of the leader, with time handed in (`store.md` section 7).
//!
//! Leases of one TTL expire in the order of their last renewal, so they stand in one queue per TTL and a renewal moves a lease
//! to the end of its queue: constant time, exact to the millisecond, without slots to cascade. A new leader gives every lease
//! its whole TTL anew; then all that stand in one queue expire together, so a promotion changes one number instead of each
//! lease.
//!
//! Reading order: `leases` with `queues`, `confirmed` (what a confirmation of leadership allows), `duty` (when a member begins and
//! ceases to keep the times), `ttl`.
//!
//! Every member follows grants and revocations; only a leader knows times. Who holds which keys is not known here but in
//! the lease rows of the store.

mod confirmed;
mod duty;
mod leases;
mod queues;
#[cfg(test)]
mod tests;
mod ttl;

pub use confirmed::{Found, OtherTerm};
pub use duty::Duty;
pub use leases::{Due, Leases, Listed, Remaining, Renewal};
pub use ttl::{TTL_MAX_S, TtlTooLarge, effective_ttl_s, minimum_ttl_s};
