//! Lets the kernel notice that a peer's machine or the network to it is gone. Nothing says so by itself: what is sent waits to be
//! retransmitted after pauses that double up to two minutes, also when the network is back long since, and who only reads waits for ever.

use std::io;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout};
use tokio::net::TcpStream;

/// A connection on which nothing was acknowledged for so long is dead, as etcd's are (its streams' `ConnReadTimeout`).
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between two questions of the kernel on an idle connection, in seconds.
const PROBE_SECONDS: u32 = 1;

/// Ends the connection when the other side's kernel has acknowledged nothing for `SILENCE_MAX`. A peer's process may pause for as long
/// as it likes while its machine answers.
///
/// # Errors
/// The kernel refuses an option.
pub(super) fn guard(tcp: &TcpStream) -> io::Result<()> {
    setsockopt(tcp, TcpUserTimeout, &u32::try_from(SILENCE_MAX.as_millis()).unwrap_or(u32::MAX))?;
    setsockopt(tcp, TcpKeepIdle, &PROBE_SECONDS)?;
    setsockopt(tcp, TcpKeepInterval, &PROBE_SECONDS)?;
    setsockopt(tcp, TcpKeepCount, &(u32::try_from(SILENCE_MAX.as_secs()).unwrap_or(u32::MAX) / PROBE_SECONDS))?;
    setsockopt(tcp, KeepAlive, &true)?;
    Ok(())
}
