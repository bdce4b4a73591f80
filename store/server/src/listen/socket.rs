//! Bound sockets: TCP, or a socket file.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::Error;
use super::stream::Stream;
use crate::config::Url;
use crate::tls::Plane;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A URL that is listened on.
pub struct Listener {
    url: Url,
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(SocketFile),
}

/// A listening socket file; removed with the listener.
struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // One that is gone already was removed by a person.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Binds the URL. `localhost` is its first IPv4 address, as with etcd.
    ///
    /// # Errors
    /// What the system says, with a remedy, or that a TLS URL has no certificate.
    pub async fn bind(url: &Url, plane: Option<&Plane>, reuse_port: bool) -> Result<Listener, Error> {
        let tls = match (url.is_tls(), plane) {
            (true, Some(plane)) => Some(plane.server.clone()),
            (true, None) => return Err(Error::NoTls { url: url.clone() }),
            (false, _) => None,
        };
        let socket = match url.socket_file() {
            Some(path) => bind_file(path).map(Socket::Unix),
            None => bind_tcp(url, reuse_port).await.map(Socket::Tcp),
        };
        let socket = socket.map_err(|source| {
            let remedy = match source.kind() {
                io::ErrorKind::AddrInUse => "; another process has it: stop that one or choose another port",
                io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
                io::ErrorKind::PermissionDenied => "; choose a port above 1023, or a folder that this user may write",
                _ => "",
            };
            Error::Bind { url: url.clone(), source, remedy }
        })?;
        Ok(Listener { url: url.clone(), socket, tls })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The bound address, with the port that the system chose for port 0; `None` for a socket file.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    pub(super) fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and wanted at once.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Socket::Unix(file) => Ok(Stream::Unix(file.listener.accept().await?.0)),
        }
    }
}

async fn bind_tcp(url: &Url, reuse_port: bool) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(url.address()).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = *addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A file that a dead process left behind is removed, one that is listened on is not.
fn bind_file(path: PathBuf) -> io::Result<SocketFile> {
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(&path)?;
    }
    Ok(SocketFile { listener: UnixListener::bind(&path)?, path })
}
