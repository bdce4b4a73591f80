//! Starting on a full disk: RocksDB writes a manifest and the directory a boot counter before anything can be served, so a member
//! that was restarted while its disk is full waits for room. Ending instead would make who restarts it back off for minutes, and
//! look like damage.

use std::time::Duration;

use super::Error;

/// Between two tries; opening a directory that cannot be written fails in milliseconds and leaves nothing behind.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Does what needs room on the disk; while there is none it says so once, tells `full`, and tries again until the caller drops it.
///
/// # Errors
/// Whatever is not a lack of space.
pub async fn wait_for_room<T>(attempt: impl Fn() -> Result<T, Error>, full: impl Fn(bool)) -> Result<T, Error> {
    let mut waiting = false;
    loop {
        let done = attempt();
        match done {
            Err(reason) if reason.is_no_space() => {
                if !waiting {
                    tracing::error!(
                        %reason,
                        "the disk is full, so this member cannot start; free space or grow the volume, it goes on by itself then"
                    );
                    full(true);
                }
                waiting = true;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => {
                if waiting {
                    tracing::info!("the disk has room again; starting");
                    full(false);
                }
                return done;
            }
        }
    }
}
