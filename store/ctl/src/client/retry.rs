//! Repeating reads while no member can answer, as etcd's client does. Writes are never repeated: they may have happened.

use std::time::Duration;

use tonic::{Code, Status};

/// etcd's client gives up after so many attempts; with the pause they last 2.5 s, longer than an election.
const ATTEMPTS_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(25);

/// Runs `read` until it answers anything but Unavailable, at most 100 times.
pub async fn repeat_read<T>(read: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    repeat(read, PAUSE).await
}

async fn repeat<T>(mut read: impl AsyncFnMut() -> Result<T, Status>, pause: Duration) -> Result<T, Status> {
    let mut attempt = 1;
    loop {
        match read().await {
            Err(status) if status.code() == Code::Unavailable && attempt < ATTEMPTS_MAX => {
                attempt += 1;
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_unavailable_is_repeated_and_not_for_ever() {
        for (code, expected) in [(Code::Unavailable, ATTEMPTS_MAX), (Code::NotFound, 1)] {
            let mut calls = 0;
            let refuse = async || -> Result<(), Status> {
                calls += 1;
                Err(Status::new(code, "no"))
            };
            let result = repeat(refuse, Duration::ZERO).await;
            assert_eq!((result.unwrap_err().code(), calls), (code, expected));
        }
    }
}
