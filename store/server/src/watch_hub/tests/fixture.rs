//! A store in memory with a hub, and clients of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, request_op::Request as Op, watch_request::RequestUnion};
use quorate_core::apply::{Limits, Machine};
use quorate_core::command::{BatchBuilder, Command, CommandId, Request};
use quorate_core::memory::Memory;
use quorate_core::mvcc;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::memory::Budget;
use crate::watch_hub::{Counts, Responses, Settings, Source, WatchHub};

/// Nothing in these tests takes long: what is awaited longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct Store {
    state: Arc<Mutex<State>>,
    pub hub: WatchHub,
}

pub struct State {
    pub rows: Memory,
    pub machine: Machine,
}

impl Source for Store {
    type View = Memory;

    fn view(&self) -> Result<(Memory, mvcc::State), Error> {
        let state = self.state.lock().unwrap();
        Ok((state.rows.clone(), state.machine.state()))
    }

    fn header(&self, revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader { cluster_id: 1, member_id: 2, revision, raft_term: 3 }
    }
}

impl Store {
    pub fn new(settings: Settings) -> Store {
        Store::within(settings, Budget::new(usize::MAX))
    }

    pub fn within(settings: Settings, budget: Arc<Budget>) -> Store {
        let rows = Memory::default();
        let machine = Machine::open(&rows).unwrap();
        let hub = WatchHub::start(machine.revision(), machine.compact_revision(), settings, budget);
        Store { state: Arc::new(Mutex::new(State { rows, machine })), hub }
    }

    fn run(&self, request: Request) -> Vec<mvcc::Event> {
        let mut state = self.state.lock().unwrap();
        let State { rows, machine } = &mut *state;
        let before = rows.clone();
        let index = machine.applied().index + 1;
        let mut turn = machine.turn(&before, Limits::default());
        let mut batch = BatchBuilder::default();
        let id = CommandId { member: 1, boot: 1, counter: index };
        batch.push(&Command { id, user: String::new(), auth_revision: 0, request });
        turn.entry(index, 1, batch.finish()).unwrap();
        let applied = turn.finish();
        rows.write(&applied.batch);
        applied.outcomes[0].result.as_ref().unwrap();
        applied.events
    }

    fn publish(&self, events: Vec<mvcc::Event>) {
        let state = self.state.lock().unwrap();
        self.hub.publish(state.machine.revision(), state.machine.compact_revision(), events);
    }

    /// One transaction, published as the driver does.
    pub fn apply(&self, ops: &[pb::RequestOp]) {
        let events = self.run(Request::Txn(pb::TxnRequest { success: ops.to_vec(), ..Default::default() }));
        self.publish(events);
    }

    /// One transaction that this member gets only with the next snapshot.
    pub fn apply_unpublished(&self, ops: &[pb::RequestOp]) {
        self.run(Request::Txn(pb::TxnRequest { success: ops.to_vec(), ..Default::default() }));
    }

    pub fn compact(&self, revision: i64) {
        self.run(Request::Compact(pb::CompactionRequest { revision, physical: false }));
        self.publish(Vec::new());
    }

    /// A snapshot was installed.
    pub fn reset(&self) {
        let state = self.state.lock().unwrap();
        self.hub.reset(state.machine.revision(), state.machine.compact_revision());
    }

    pub fn revision(&self) -> i64 {
        self.state.lock().unwrap().machine.revision()
    }

    pub fn compact_revision(&self) -> i64 {
        self.state.lock().unwrap().machine.compact_revision()
    }
}

pub fn put(key: &str, value: &str) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestPut(put)) }
}

/// Deletes the keys from `key` to the end that starts with it, which the checks for duplicate keys do not see.
pub fn delete(key: &str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }
}

pub fn key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.to_owned().into(), ..Default::default() }
}

pub fn from_key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: "\0".into(), ..self::key(key) }
}

/// Lets the tasks of the hub run until its counts are as wanted.
pub async fn wait_until(store: &Store, wanted: impl Fn(&Counts) -> bool) {
    let reached = async {
        while !wanted(&store.hub.counts()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("counts stay {:?}", store.hub.counts()));
}

pub struct Client {
    requests: Option<mpsc::Sender<Result<pb::WatchRequest, Status>>>,
    responses: Responses,
}

impl Client {
    pub fn open(store: &Store) -> Client {
        let (requests, receiver) = mpsc::channel(1024);
        let responses = store.hub.serve(store.clone(), ReceiverStream::new(receiver), std::future::pending::<Status>());
        Client { requests: Some(requests), responses }
    }

    fn send(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().try_send(Ok(request)).unwrap();
    }

    pub fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    pub fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }

    pub fn request_progress(&self) {
        self.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    }

    pub fn half_close(&mut self) {
        self.requests = None;
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        self.next_result().await.unwrap()
    }

    pub async fn next_result(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.next());
        let message = next.await.expect("a response comes").expect("the stream goes on")?;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        Ok(pb::WatchResponse::decode(&bytes[..]).unwrap())
    }
}
