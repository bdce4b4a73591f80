//! The network of the clients, and the thread of the harness that is in it.

use std::fs::File;

use nix::sched::{CloneFlags, setns};
use quorate_harness::Interrupt;

use super::Error;
use crate::crash::namespace::Namespace;

/// Runs `work` on a runtime of its own, all of whose threads are in a new network namespace, which it is given. The thread that blocks on it
/// starts the members, and so they end with it at the latest.
pub(super) fn in_clients_network<T, F>(work: impl FnOnce(Namespace) -> F + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>>,
{
    let thread = std::thread::Builder::new().name("chaos".into()).spawn(move || {
        let clients = Namespace::create_with_network()?;
        let path = format!("/proc/{}/ns/net", clients.holder());
        let namespace = File::open(&path).map_err(crate::crash::Error::io("open", &path))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|source| Error::System { call: "setns", source })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(crate::crash::Error::io("start the runtime of", "the clients"))?;
        let done = runtime.block_on(work(clients));
        // Streams of watches that nobody reads any more are not waited for.
        runtime.shutdown_background();
        done
    });
    let thread = thread.map_err(crate::crash::Error::io("start the thread of", "the clients"))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// As [`in_clients_network`], but when the process is asked to stop, the work is dropped where it stands, and with it its cluster.
pub(super) fn until_interrupted<T, F>(
    interrupt: &Interrupt,
    work: impl FnOnce(Namespace) -> F + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>>,
{
    let interrupt = interrupt.clone();
    in_clients_network(move |clients| async move { interrupt.or(work(clients)).await? })
}
