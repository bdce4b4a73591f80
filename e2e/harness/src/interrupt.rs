//! SIGINT and SIGTERM as a value that is awaited: whoever awaits it drops what it does, and with that what it started.

use std::io;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A run was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted by {0}")]
pub struct Interrupted(pub Signal);

impl Interrupted {
    /// The exit status by which shells tell that a signal ended a program: 130 for SIGINT, 143 for SIGTERM.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(128 + self.0 as u8)
    }
}

/// Whether the process was asked to stop. Cheap to clone; it never becomes untrue again.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<Option<Interrupted>>);

impl Interrupt {
    /// Takes SIGINT and SIGTERM for the rest of the process's life, which is the program's to decide and not a library's. A second signal
    /// ends the process at once, and what is tied to it.
    ///
    /// # Errors
    /// The handlers or the thread that waits for them cannot be made.
    pub fn listen() -> io::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        let (sender, receiver) = watch::channel(None);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut next = move || {
                let next = async {
                    tokio::select! {
                        _ = interrupt.recv() => Interrupted(Signal::SIGINT),
                        _ = terminate.recv() => Interrupted(Signal::SIGTERM),
                    }
                };
                runtime.block_on(next)
            };
            sender.send_replace(Some(next()));
            let Interrupted(signal) = next();
            std::process::exit(128 + signal as i32);
        })?;
        Ok(Interrupt(receiver))
    }

    /// For tests, whose process signals end as they end any other.
    pub fn never() -> Interrupt {
        Interrupt(watch::channel(None).1)
    }

    /// Waits until the process is asked to stop.
    pub async fn came(&self) -> Interrupted {
        match self.0.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(interrupted)) => *interrupted,
            _ => std::future::pending().await,
        }
    }

    /// Does the work, unless the process is asked to stop before it is done: then the work is dropped where it stands.
    ///
    /// # Errors
    /// It was.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            interrupted = self.came() => Err(interrupted),
            done = work => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// The only test that lets this process be signalled: for the rest of its life, a second signal would end it.
    #[test]
    fn a_signal_stops_work_that_is_under_way_and_work_that_begins_later() {
        let interrupt = Interrupt::listen().unwrap();
        assert_eq!(runtime().block_on(interrupt.or(async { 7 })), Ok(7));
        let asked = || raise(Signal::SIGTERM).unwrap();
        let under_way = async {
            asked();
            std::future::pending::<()>().await
        };
        assert_eq!(runtime().block_on(interrupt.or(under_way)), Err(Interrupted(Signal::SIGTERM)));
        assert_eq!(runtime().block_on(interrupt.or(async { 7 })), Err(Interrupted(Signal::SIGTERM)));
        assert_eq!(Interrupted(Signal::SIGTERM).to_string(), "interrupted by SIGTERM");
    }

    #[test]
    fn nothing_stops_what_is_never_interrupted() {
        assert_eq!(runtime().block_on(Interrupt::never().or(async { 7 })), Ok(7));
    }

    #[test]
    fn the_exit_status_is_the_one_that_shells_give() {
        assert_eq!(Interrupted(Signal::SIGINT).exit_code(), ExitCode::from(130));
        assert_eq!(Interrupted(Signal::SIGTERM).exit_code(), ExitCode::from(143));
    }
}
