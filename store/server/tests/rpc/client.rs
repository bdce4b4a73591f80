//! A client of all services, and answers as texts that can be compared between servers.

use std::fmt::Debug;
use std::time::Duration;

use quorate_api::etcdserverpb::auth_client::AuthClient;
use quorate_api::etcdserverpb::cluster_client::ClusterClient;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_api::etcdserverpb::{self as pb};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub use quorate_api::etcdserverpb::request_op::Request as Op;

#[derive(Clone)]
pub struct Client {
    pub kv: KvClient<Channel>,
    pub cluster: ClusterClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
    pub auth: AuthClient<Channel>,
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap().timeout(Duration::from_secs(30));
        Client::over(endpoint.connect().await.unwrap())
    }

    pub fn over(channel: Channel) -> Client {
        Client {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            auth: AuthClient::new(channel),
        }
    }

    pub async fn put(&mut self, key: &str, value: &str) -> pb::PutResponse {
        let request = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
        self.kv.put(request).await.unwrap().into_inner()
    }

    pub async fn get(&mut self, key: &str) -> pb::RangeResponse {
        let request = pb::RangeRequest { key: bytes(key), ..Default::default() };
        self.kv.range(request).await.unwrap().into_inner()
    }
}

pub fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// Who answered, blanked so that two servers can be compared; revisions and terms stay.
pub trait Blank {
    fn blank(&mut self);
}

macro_rules! blank {
    ($($type:ident),*) => {
        $(impl Blank for pb::$type {
            fn blank(&mut self) {
                if let Some(header) = &mut self.header {
                    assert_ne!((header.cluster_id, header.member_id), (0, 0), "who answers is told");
                    header.cluster_id = 0;
                    header.member_id = 0;
                }
            }
        })*
    };
}

blank!(
    RangeResponse,
    PutResponse,
    DeleteRangeResponse,
    TxnResponse,
    CompactionResponse,
    HashKvResponse,
    DefragmentResponse,
    MoveLeaderResponse,
    AuthStatusResponse,
    AuthenticateResponse
);

impl Blank for pb::RangeStreamResponse {
    fn blank(&mut self) {
        if let Some(response) = &mut self.range_response {
            response.blank();
        }
    }
}

impl Blank for pb::AlarmResponse {
    fn blank(&mut self) {
        if let Some(header) = &mut self.header {
            header.cluster_id = 0;
            header.member_id = 0;
        }
        self.alarms.iter_mut().for_each(|alarm| alarm.member_id = 0);
    }
}

/// An answer, or the code and text of an error.
pub fn show<T: Debug + Blank>(result: Result<tonic::Response<T>, Status>) -> String {
    match result {
        Ok(response) => {
            let mut response = response.into_inner();
            response.blank();
            format!("{response:?}")
        }
        Err(status) => show_error(&status),
    }
}

pub fn show_error(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
