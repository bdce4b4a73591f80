//! The way from this machine's own namespace into the cluster's: a listener on loopback whose connections continue
//! inside. Only loopback listens, and nothing of the machine's network changes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::{Result, io as io_error};
use super::namespace::Inside;

/// Connections of one relay at a time; more wait. Several test clients with a few streams each need tens.
const CONNECTIONS_MAX: usize = 1_024;
/// Requests for a socket that wait for the dialer, which answers each in microseconds.
const DIALER_QUEUE: usize = 64;
/// Far beyond a connect within one machine; shorter than a client's patience.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Makes sockets in another network namespace. A socket stays in the namespace it was made in, so only its making needs
/// a thread that lives there.
#[derive(Debug, Clone)]
pub struct Dialer(mpsc::Sender<oneshot::Sender<io::Result<TcpSocket>>>);

impl Dialer {
    /// A dialer in the network namespace of process `pid`; it ends with its last clone.
    pub fn start(pid: u32) -> Result<Self> {
        let (requests, mut queue) = mpsc::channel::<oneshot::Sender<io::Result<TcpSocket>>>(DIALER_QUEUE);
        let (entered, result) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("dialer".into());
        let dial = move || {
            // A caller that gave up does not listen any more, here and below.
            let inside = Inside::network_of(pid).move_thread();
            let failed = inside.is_err();
            let _ = entered.send(inside);
            if failed {
                return;
            }
            while let Some(answer) = queue.blocking_recv() {
                let _ = answer.send(TcpSocket::new_v4());
            }
        };
        thread.spawn(dial).map_err(io_error("start a thread", "dialer"))?;
        result.recv().expect("the dialer answers before it ends")?;
        Ok(Self(requests))
    }

    pub async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let ended = || io::Error::other("the dialer has ended");
        let (answer, socket) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| ended())?;
        let socket = socket.await.map_err(|_| ended())??;
        tokio::time::timeout(CONNECT_LIMIT, socket.connect(target)).await.map_err(io::Error::from)?
    }
}

/// A listener on this machine's loopback that leads to one address inside; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port, or on `port` if it is not 0.
    pub async fn start(dialer: Dialer, target: SocketAddr, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(io_error("listen on", address.to_string()))?;
        let local = listener.local_addr().map_err(io_error("listen on", address.to_string()))?;
        let task = tokio::spawn(serve(listener, dialer, target));
        Ok(Self { local, task })
    }

    /// Where to connect to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, dialer: Dialer, target: SocketAddr) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Out of file descriptors: the next accept waits for one of ours to end.
        let Ok((mut outside, _)) = listener.accept().await else {
            connections.join_next().await;
            continue;
        };
        let dialer = dialer.clone();
        connections.spawn(async move {
            let _place = place;
            // A refused or broken connection ends the client's, which is all that a cable would do.
            if let Ok(mut inside) = dialer.connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
