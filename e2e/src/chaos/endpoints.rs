//! How clients reach the members: one channel to each, that connects when it is used and again after it broke.

use std::time::Duration;

use quorate_api::etcdserverpb::cluster_client::ClusterClient;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::lease_client::LeaseClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::Error;
use super::switch::address;

pub const CLIENT_PORT: u16 = 2379;
pub const PEER_PORT: u16 = 2380;

/// A client waits so long for an answer; then the outcome is unknown to it. Above an election, below a long partition.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// TCP's, and that of TLS after it: the kernel accepts for a process that is gone or stands still, and where the network loses packets
/// nobody ever says so.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// A connection whose pings stay unanswered for so long is given up, as nobody closes it in a partition.
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);
const PING_EVERY: Duration = Duration::from_millis(500);

/// A channel to every member, by its place.
#[derive(Debug, Clone)]
pub struct Endpoints {
    channels: Vec<Channel>,
    tls: Option<ClientTlsConfig>,
}

impl Endpoints {
    pub fn new(members: usize, tls: Option<&ClientTlsConfig>) -> Result<Endpoints, Error> {
        let channels = (0..members).map(|member| channel(client_url(member, tls.is_some()), tls));
        Ok(Endpoints { channels: channels.collect::<Result<Vec<_>, Error>>()?, tls: tls.cloned() })
    }

    /// The same members through connections that nobody has used: whether one that was used hangs, or who is at its other end.
    pub fn anew(&self) -> Result<Endpoints, Error> {
        Endpoints::new(self.len(), self.tls.as_ref())
    }

    pub fn len(&self) -> usize {
        self.channels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    pub fn kv(&self, member: usize) -> KvClient<Channel> {
        KvClient::new(self.channels[member].clone()).max_decoding_message_size(usize::MAX)
    }

    pub fn watch(&self, member: usize) -> WatchClient<Channel> {
        WatchClient::new(self.channels[member].clone()).max_decoding_message_size(usize::MAX)
    }

    pub fn lease(&self, member: usize) -> LeaseClient<Channel> {
        LeaseClient::new(self.channels[member].clone())
    }

    pub fn cluster(&self, member: usize) -> ClusterClient<Channel> {
        ClusterClient::new(self.channels[member].clone())
    }

    pub fn maintenance(&self, member: usize) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channels[member].clone())
    }
}

fn channel(url: String, tls: Option<&ClientTlsConfig>) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(url)?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(Duration::from_secs(3_600))
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let endpoint = match tls {
        None => endpoint,
        Some(tls) => endpoint.tls_config(tls.clone().timeout(CONNECT_TIMEOUT))?,
    };
    Ok(endpoint.connect_lazy())
}

pub fn client_url(member: usize, tls: bool) -> String {
    format!("{}://{}:{CLIENT_PORT}", if tls { "https" } else { "http" }, address(member))
}

pub fn peer_url(member: usize, tls: bool) -> String {
    format!("{}://{}:{PEER_PORT}", if tls { "https" } else { "http" }, address(member))
}

#[cfg(test)]
mod tests {
    use quorate_api::etcdserverpb::RangeRequest;

    use super::*;

    #[tokio::test]
    async fn a_member_that_accepts_and_says_nothing_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", silent.local_addr().unwrap());
        let mut client = KvClient::new(channel(url, Some(&ClientTlsConfig::new())).unwrap());
        let call = client.range(RangeRequest::default());
        let answer = tokio::time::timeout(10 * CONNECT_TIMEOUT, call).await.expect("it waits for ever");
        assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable);
    }
}
