//! What a client may ask for as the TTL of a lease, and what it gets. Decided before a grant is proposed, so that members
//! with other election timeouts apply the same.

/// Largest TTL that may be asked for, as in etcd: about 285 years.
pub const TTL_MAX_S: i64 = 9_000_000_000;

/// A grant asked for more than [`TTL_MAX_S`]. Clients see etcd's "etcdserver: too large lease TTL".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a TTL of {asked_s} s is above the limit of {TTL_MAX_S} s: ask for less")]
pub struct TtlTooLarge {
    pub asked_s: i64,
}

/// The least TTL: one and a half election timeouts, rounded up, so that a lease outlives the choice of a leader.
pub fn minimum_ttl_s(election_timeout_ms: u64) -> i64 {
    let seconds = (election_timeout_ms * 3).div_ceil(2 * 1000);
    i64::try_from(seconds).unwrap_or(TTL_MAX_S).clamp(1, TTL_MAX_S)
}

/// The TTL that is granted when `asked_s` is asked for; zero and below are raised to the minimum like any other.
///
/// # Errors
/// When it is above [`TTL_MAX_S`].
pub fn effective_ttl_s(asked_s: i64, minimum_s: i64) -> Result<i64, TtlTooLarge> {
    if asked_s > TTL_MAX_S { Err(TtlTooLarge { asked_s }) } else { Ok(asked_s.max(minimum_s)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_one_and_a_half_election_timeouts_rounded_up() {
        for (election_timeout_ms, minimum_s) in [(1000, 2), (100, 1), (500, 1), (700, 2), (2000, 3), (50_000, 75)] {
            assert_eq!(minimum_ttl_s(election_timeout_ms), minimum_s, "{election_timeout_ms} ms");
        }
    }

    #[test]
    fn a_small_ttl_is_raised_and_a_huge_one_refused() {
        for (asked_s, granted) in [(-5, Ok(2)), (0, Ok(2)), (1, Ok(2)), (3, Ok(3)), (TTL_MAX_S, Ok(TTL_MAX_S))] {
            assert_eq!(effective_ttl_s(asked_s, 2), granted, "{asked_s} s");
        }
        assert_eq!(effective_ttl_s(TTL_MAX_S + 1, 2), Err(TtlTooLarge { asked_s: TTL_MAX_S + 1 }));
    }
}
