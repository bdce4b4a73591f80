//! The time that leases live by: monotonic, and going on while the machine is suspended. Never wall time, which may jump.

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine booted.
pub(super) fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has this clock");
    let (seconds, nanoseconds) = (time.tv_sec(), time.tv_nsec());
    u64::try_from(seconds).unwrap_or(0) * 1000 + u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000
}
