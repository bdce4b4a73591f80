//! Concurrent puts that remember what came back. Each writer owns its keys, so that the history of a key is one sequence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::PutRequest;
use quorate_api::etcdserverpb::kv_client::KvClient;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::Error;

/// Enough to keep the group commit full on two cores.
const WRITERS: usize = 12;

/// Of this many puts of a writer one goes to its hot key, which it overwrites all the time.
const HOT_ONE_IN: u64 = 4;

const VALUE_BYTES_MAX: usize = 1500;

/// After a failed put, so that a member that is down is not asked in a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// What is known of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged {
        revision: i64,
    },
    /// Failed or timed out: it may have happened, and may still happen until the cluster has forgotten it.
    Unknown,
}

#[derive(Debug, Clone)]
pub struct Write {
    pub key: Bytes,
    pub value: Bytes,
    pub outcome: Outcome,
}

/// Running writers.
pub struct Load {
    stop: watch::Sender<bool>,
    acknowledged: watch::Receiver<u64>,
    writers: Vec<JoinHandle<Vec<Write>>>,
}

impl Load {
    /// Starts the writers; `round` is part of each key, so that no two rounds share one but the hot keys.
    pub fn start(clients: &[KvClient<Channel>], round: u32, seed: u64) -> Load {
        let (stop, stopped) = watch::channel(false);
        let (count, acknowledged) = watch::channel(0);
        let count = Arc::new(count);
        let writers = (0..WRITERS)
            .map(|writer| {
                let task = Writer {
                    writer,
                    round,
                    clients: clients.to_vec(),
                    rng: ChaCha8Rng::seed_from_u64(seed ^ ((u64::from(round) << 32) | writer as u64)),
                    stopped: stopped.clone(),
                    acknowledged: Arc::clone(&count),
                };
                tokio::spawn(task.run())
            })
            .collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until so many more puts than now are acknowledged.
    pub async fn acknowledge(&mut self, more: u64, within: Duration) -> Result<(), Error> {
        let wanted = *self.acknowledged.borrow() + more;
        let reached = self.acknowledged.wait_for(|count| *count >= wanted);
        // The sender lives in the writers, which run until `stop`, so only the time can run out.
        match tokio::time::timeout(within, reached).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NoProgress { waited: within }),
        }
    }

    /// Ends the writers after their current put and returns all that they wrote, in the order of each writer.
    pub async fn stop(self) -> Vec<Write> {
        self.stop.send_replace(true);
        let mut writes = Vec::new();
        for writer in self.writers {
            writes.extend(writer.await.expect("a writer neither panics nor is aborted"));
        }
        writes
    }
}

struct Writer {
    writer: usize,
    round: u32,
    clients: Vec<KvClient<Channel>>,
    rng: ChaCha8Rng,
    stopped: watch::Receiver<bool>,
    acknowledged: Arc<watch::Sender<u64>>,
}

impl Writer {
    async fn run(mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut client = self.writer % self.clients.len();
        let mut sequence = 0;
        while !*self.stopped.borrow() {
            let (key, value) = self.next(sequence);
            sequence += 1;
            let request = PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
            let outcome = match self.clients[client].put(request).await {
                Ok(response) => {
                    let header = response.into_inner().header.unwrap_or_default();
                    self.acknowledged.send_modify(|count| *count += 1);
                    Outcome::Acknowledged { revision: header.revision }
                }
                Err(_) => {
                    client = (client + 1) % self.clients.len();
                    tokio::time::sleep(AFTER_FAILURE).await;
                    Outcome::Unknown
                }
            };
            writes.push(Write { key, value, outcome });
        }
        writes
    }

    /// A key never written before, or now and then the writer's hot key, and a value found nowhere else.
    fn next(&mut self, sequence: u64) -> (Bytes, Bytes) {
        let (writer, round) = (self.writer, self.round);
        let key = if sequence.is_multiple_of(HOT_ONE_IN) {
            format!("hot/{writer:02}")
        } else {
            format!("once/{round:03}/{writer:02}/{sequence:08}")
        };
        let mut value = format!("{round}/{writer}/{sequence}/").into_bytes();
        let filler = self.rng.random_range(0..VALUE_BYTES_MAX);
        value.extend((0..filler).map(|_| self.rng.random::<u8>()));
        (key.into(), value.into())
    }
}
