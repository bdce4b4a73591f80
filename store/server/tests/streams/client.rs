//! A client with an open watch stream, and answers as texts that can be compared between servers.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::lease_client::LeaseClient;
use quorate_api::etcdserverpb::watch_client::WatchClient;
use quorate_api::etcdserverpb::{self as pb, request_op::Request as Op, watch_request::RequestUnion};
use quorate_api::mvccpb;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

/// What is awaited longer will not come.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Client {
    pub kv: KvClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub watch: WatchClient<Channel>,
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap().connect_timeout(PATIENCE);
        Client::over(endpoint.connect().await.unwrap())
    }

    pub fn over(channel: Channel) -> Client {
        Client {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel).max_decoding_message_size(usize::MAX),
        }
    }

    pub async fn put(&mut self, key: &str, value: &str) -> i64 {
        self.put_leased(key, value, 0).await
    }

    pub async fn put_leased(&mut self, key: &str, value: &str, lease: i64) -> i64 {
        let request = pb::PutRequest { key: bytes(key), value: bytes(value), lease, ..Default::default() };
        self.kv.put(request).await.unwrap().into_inner().header.unwrap().revision
    }

    pub async fn delete(&mut self, key: &str) {
        let request = pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
        self.kv.delete_range(request).await.unwrap();
    }

    pub async fn txn(&mut self, ops: &[pb::RequestOp]) {
        self.kv.txn(pb::TxnRequest { success: ops.to_vec(), ..Default::default() }).await.unwrap();
    }

    pub async fn compact(&mut self, revision: i64) {
        self.kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    }

    pub async fn count(&mut self, prefix: &str) -> i64 {
        let range_end = bytes(&format!("{prefix}\u{7f}"));
        let request = pb::RangeRequest { key: bytes(prefix), range_end, count_only: true, ..Default::default() };
        self.kv.range(request).await.unwrap().into_inner().count
    }

    pub async fn grant(&mut self, ttl: i64, id: i64) -> Result<pb::LeaseGrantResponse, Status> {
        self.lease.lease_grant(pb::LeaseGrantRequest { ttl, id }).await.map(tonic::Response::into_inner)
    }

    pub async fn revoke(&mut self, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
        self.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await.map(tonic::Response::into_inner)
    }

    pub async fn time_to_live(&mut self, id: i64, keys: bool) -> pb::LeaseTimeToLiveResponse {
        self.lease.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys }).await.unwrap().into_inner()
    }

    /// One renewal on a stream of its own.
    pub async fn keep_alive(&mut self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let mut answers = self.lease.lease_keep_alive(requests).await?.into_inner();
        answers.message().await.map(|answer| answer.expect("each request is answered"))
    }

    pub fn open_watch(&mut self) -> Watching {
        let (requests, receiver) = mpsc::channel(64);
        let mut watch = self.watch.clone();
        // Not awaited: etcd begins its answer only with the first response, so the first request must come before it.
        let opening = tokio::spawn(async move { watch.watch(ReceiverStream::new(receiver)).await });
        Watching { requests: Some(requests), opening: Some(opening), responses: None }
    }
}

pub struct Watching {
    requests: Option<mpsc::Sender<pb::WatchRequest>>,
    opening: Option<JoinHandle<Result<Response<Streaming<pb::WatchResponse>>, Status>>>,
    responses: Option<Streaming<pb::WatchResponse>>,
}

impl Watching {
    async fn send(&self, request: Option<RequestUnion>) {
        self.requests.as_ref().unwrap().send(pb::WatchRequest { request_union: request }).await.unwrap();
    }

    pub async fn create(&self, request: pb::WatchCreateRequest) {
        self.send(Some(RequestUnion::CreateRequest(request))).await;
    }

    pub async fn cancel(&self, watch_id: i64) {
        self.send(Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }))).await;
    }

    pub async fn request_progress(&self) {
        self.send(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))).await;
    }

    pub async fn send_nothing(&self) {
        self.send(None).await;
    }

    pub fn half_close(&mut self) {
        self.requests = None;
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let next = async {
            if let Some(opening) = self.opening.take() {
                self.responses = Some(opening.await.unwrap().unwrap().into_inner());
            }
            self.responses.as_mut().expect("it was opened").message().await
        };
        let next = tokio::time::timeout(PATIENCE, next).await;
        next.expect("a response comes").unwrap().expect("the stream goes on")
    }

    /// Events until there are `count`, in order of arrival.
    pub async fn events(&mut self, count: usize) -> Vec<mvccpb::Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events);
        }
        events
    }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put_op(key: &str, value: &str) -> pb::RequestOp {
    let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestPut(put)) }
}

pub fn delete_op(key: &str, range_end: &str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }
}

pub fn key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), ..Default::default() }
}

pub fn range(start: &str, range_end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: bytes(range_end), ..key(start) }
}

/// One line a response and an event; who answered is left out.
pub fn show(response: &pb::WatchResponse) -> String {
    let pb::WatchResponse { header, watch_id, created, canceled, compact_revision, cancel_reason, fragment, events } =
        response;
    let header = header.as_ref().expect("a response has a header");
    assert!(header.cluster_id != 0 && header.member_id != 0);
    let mut text = format!("watch {watch_id} at {} in term {}", header.revision, header.raft_term);
    for (set, name) in [(created, "created"), (canceled, "canceled"), (fragment, "fragment")] {
        if *set {
            write!(text, ", {name}").unwrap();
        }
    }
    if *compact_revision != 0 || !cancel_reason.is_empty() {
        write!(text, ", compacted {compact_revision}, because {cancel_reason:?}").unwrap();
    }
    for event in events {
        write!(text, "\n  {:?} {}", event.r#type(), show_row(event.kv.as_ref())).unwrap();
        if event.prev_kv.is_some() {
            write!(text, " after {}", show_row(event.prev_kv.as_ref())).unwrap();
        }
    }
    text
}

fn show_row(kv: Option<&mvccpb::KeyValue>) -> String {
    let Some(kv) = kv else { return "nothing".to_owned() };
    let mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    let value: String = String::from_utf8_lossy(value).chars().take(12).collect();
    format!("{:?}={value:?} {create_revision}/{mod_revision}/{version} lease {lease}", String::from_utf8_lossy(key))
}
