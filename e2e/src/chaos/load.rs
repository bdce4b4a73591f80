//! Clients that write and read, each one request at a time, and remember every answer. They share their keys.

use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::board::Board;
use super::endpoints::{Endpoints, REQUEST_TIMEOUT};
use super::wire;
use crate::history::{Answer, Operation, Outcome, Put, Request, Write};

/// Enough for conflicts on keys and for batches, few enough that two cores still schedule the members.
const CLIENTS: u32 = 10;

/// Keys `k/00` to `k/39`.
const KEYS: u32 = 40;

/// Of this many requests one goes to another member than the one before.
const WANDER_ONE_IN: u32 = 20;

const VALUE_BYTES_MAX: usize = 400;

/// Between two requests of a client, at most.
const THINK_MS_MAX: u64 = 6;

/// After a request that failed, so that a member that is down is not asked in a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(30);

/// How far back reads of the past go.
const PAST_MAX: i64 = 300;

/// A lease that nobody grants: what is to be attached to it is refused.
const NO_SUCH_LEASE: i64 = 0x0bad;

/// Running clients.
pub struct Load {
    clients: Vec<JoinHandle<Vec<Operation>>>,
}

impl Load {
    pub fn start(endpoints: &Endpoints, board: &Board, seed: u64) -> Load {
        let clients = (0..CLIENTS)
            .map(|number| {
                let client = Client {
                    number,
                    endpoints: endpoints.clone(),
                    board: board.clone(),
                    rng: ChaCha8Rng::seed_from_u64(seed ^ u64::from(number) << 32),
                    member: number as usize % endpoints.len(),
                };
                tokio::spawn(client.run())
            })
            .collect();
        Load { clients }
    }

    /// All that they did; they end when the board is stopped.
    pub async fn end(self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for client in self.clients {
            operations.extend(client.await.expect("a client neither panics nor is aborted"));
        }
        operations
    }
}

struct Client {
    number: u32,
    endpoints: Endpoints,
    board: Board,
    rng: ChaCha8Rng,
    member: usize,
}

impl Client {
    async fn run(mut self) -> Vec<Operation> {
        let mut operations = Vec::new();
        while !self.board.is_stopped() {
            let request = self.draw();
            if self.rng.random_ratio(1, WANDER_ONE_IN) {
                self.member = self.rng.random_range(0..self.endpoints.len());
            }
            let operation = ask(&self.endpoints, &self.board, self.number, self.member, request).await;
            let think = match &operation.outcome {
                Outcome::Unknown => {
                    self.member = (self.member + 1) % self.endpoints.len();
                    AFTER_FAILURE
                }
                _ => Duration::from_millis(self.rng.random_range(0..=THINK_MS_MAX)),
            };
            operations.push(operation);
            tokio::time::sleep(think).await;
        }
        operations
    }

    fn draw(&mut self) -> Request {
        let key = self.key();
        match self.rng.random_range(0..100) {
            0..36 => Request::Write(Write { puts: vec![self.put(key)], ..Write::default() }),
            36..44 => Request::Write(Write { deletes: vec![key], ..Write::default() }),
            44..56 => self.conditional(key),
            56..63 => self.several(key),
            63..67 => {
                let mut put = self.put(key);
                put.lease = NO_SUCH_LEASE;
                Request::Write(Write { puts: vec![put], ..Write::default() })
            }
            67..73 => read(key, Bytes::new(), 0, false),
            73..85 => self.range(0, false),
            85..95 => self.range(0, true),
            _ => {
                let newest = self.board.newest();
                let revision = newest - self.rng.random_range(0..PAST_MAX);
                self.range(revision.max(2).min(newest), false)
            }
        }
    }

    /// A transaction that expects the key at a revision that it may have.
    fn conditional(&mut self, key: Bytes) -> Request {
        // The newest few revisions are those that a key may well have; 0 expects no key.
        let revision = if self.rng.random_ratio(1, 3) { 0 } else { self.board.newest() - self.rng.random_range(0..8) };
        let only_if = Some((key.clone(), revision.max(0)));
        Request::Write(Write { only_if, puts: vec![self.put(key)], deletes: Vec::new() })
    }

    /// A transaction of two puts and a delete, all of different keys.
    fn several(&mut self, key: Bytes) -> Request {
        let others = [self.key(), self.key()];
        let mut write = Write { puts: vec![self.put(key.clone())], ..Write::default() };
        if others[0] != key {
            write.puts.push(self.put(others[0].clone()));
        }
        if others[1] != key && others[1] != others[0] {
            write.deletes.push(others[1].clone());
        }
        Request::Write(write)
    }

    fn range(&mut self, revision: i64, serializable: bool) -> Request {
        let tens = self.rng.random_range(0..KEYS / 10);
        read(format!("k/{tens}").into(), format!("k/{}", tens + 1).into(), revision, serializable)
    }

    fn key(&mut self) -> Bytes {
        format!("k/{:02}", self.rng.random_range(0..KEYS)).into()
    }

    fn put(&mut self, key: Bytes) -> Put {
        let mut value = format!("{}/", self.board.unique()).into_bytes();
        value.resize(value.len() + self.rng.random_range(0..VALUE_BYTES_MAX), b'.');
        Put { key, value: value.into(), lease: 0 }
    }
}

fn read(from: Bytes, end: Bytes, revision: i64, serializable: bool) -> Request {
    Request::Read { from, end, revision, serializable }
}

/// Sends one request to one member and writes down what came of it.
pub async fn ask(endpoints: &Endpoints, board: &Board, client: u32, member: usize, request: Request) -> Operation {
    let mut kv = endpoints.kv(member);
    let start = board.now();
    let answer = async {
        match &request {
            Request::Write(write) => {
                let answer = kv.txn(wire::transaction(write)).await?.into_inner();
                let revision = answer.header.unwrap_or_default().revision;
                let deleted = wire::deleted(&answer);
                Ok(Answer::Written { revision, held: answer.succeeded, deleted })
            }
            Request::Read { from, end, revision, serializable } => {
                let request = wire::range(from, end, *revision, *serializable);
                let answer = kv.range(request).await?.into_inner();
                let revision = answer.header.unwrap_or_default().revision;
                Ok(Answer::Rows { revision, rows: answer.kvs.into_iter().map(wire::seen_row).collect() })
            }
        }
    };
    let outcome = match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(answer)) => {
            board.saw(answer.revision());
            Outcome::Done(answer)
        }
        Ok(Err(status)) if wire::promises_nothing_was_done(&status) => Outcome::Refused,
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    };
    Operation { client, start, end: board.now(), request, outcome }
}
