//! Clients with leases: grant, attach a key, renew for a while, then revoke or let it run out.

use std::collections::HashMap;
use std::time::Duration;

use quorate_api::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::board::Board;
use super::endpoints::{Endpoints, REQUEST_TIMEOUT};
use super::load::ask;
use crate::history::{Lease, Operation, Put, Request, Write};

const KEEPERS: u32 = 5;

/// Keepers' numbers as clients are above those of the load.
const FIRST_CLIENT: u32 = 100;

/// Requested, in seconds: some below an outage, some above.
const TTL_SECONDS: std::ops::RangeInclusive<i64> = 2..=8;

/// A lease is renewed this many times within its TTL.
const RENEWALS_PER_TTL: u32 = 4;

const RENEWALS_MAX: u32 = 24;

/// Leases of a run are named by it, so that a grant whose answer is lost is known all the same.
const FIRST_LEASE: i64 = 0x1000;

/// What keepers did.
#[derive(Default)]
pub struct Kept {
    pub leases: Vec<Lease>,
    pub operations: Vec<Operation>,
    /// When the last request that may have renewed a lease ended.
    pub last_asked: HashMap<i64, Duration>,
}

/// Running keepers.
pub struct Keepers {
    tasks: Vec<JoinHandle<Kept>>,
}

impl Keepers {
    pub fn start(endpoints: &Endpoints, board: &Board, seed: u64) -> Keepers {
        let tasks = (0..KEEPERS)
            .map(|number| {
                let keeper = Keeper {
                    number,
                    endpoints: endpoints.clone(),
                    board: board.clone(),
                    rng: ChaCha8Rng::seed_from_u64(seed ^ u64::from(FIRST_CLIENT + number) << 32),
                    member: number as usize % endpoints.len(),
                    kept: Kept::default(),
                };
                tokio::spawn(keeper.run())
            })
            .collect();
        Keepers { tasks }
    }

    /// All that they did; they end when the board is stopped.
    pub async fn end(self) -> Kept {
        let mut all = Kept::default();
        for task in self.tasks {
            let kept = task.await.expect("a keeper neither panics nor is aborted");
            all.leases.extend(kept.leases);
            all.operations.extend(kept.operations);
            all.last_asked.extend(kept.last_asked);
        }
        all
    }
}

struct Keeper {
    number: u32,
    endpoints: Endpoints,
    board: Board,
    rng: ChaCha8Rng,
    member: usize,
    kept: Kept,
}

impl Keeper {
    async fn run(mut self) -> Kept {
        while !self.board.is_stopped() {
            self.member = self.rng.random_range(0..self.endpoints.len());
            if let Some(lease) = self.grant().await {
                let lease = self.keep(lease).await;
                self.kept.leases.push(lease);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.kept
    }

    /// A lease with a key, if both worked. One whose grant is unknown is nobody's: no key is ever attached to it.
    async fn grant(&mut self) -> Option<Lease> {
        let id = FIRST_LEASE + i64::try_from(self.board.unique()).unwrap_or(i64::MAX - FIRST_LEASE);
        let request = LeaseGrantRequest { ttl: self.rng.random_range(TTL_SECONDS), id };
        let start = self.board.now();
        let mut client = self.endpoints.lease(self.member);
        let granted = tokio::time::timeout(REQUEST_TIMEOUT, client.lease_grant(request)).await.ok()?.ok()?;
        self.kept.last_asked.insert(id, self.board.now());
        let ttl = Duration::from_secs(granted.into_inner().ttl.unsigned_abs());
        let lease = Lease { id, ttl, renewed: vec![start], revoked: None };
        let key = format!("lease/{:02}", self.number).into();
        let put = Put { key, value: format!("{}/lease", self.board.unique()).into(), lease: id };
        let write = Request::Write(Write { puts: vec![put], ..Write::default() });
        let operation = ask(&self.endpoints, &self.board, FIRST_CLIENT + self.number, self.member, write).await;
        self.kept.operations.push(operation);
        Some(lease)
    }

    async fn keep(&mut self, mut lease: Lease) -> Lease {
        for _ in 0..self.rng.random_range(0..RENEWALS_MAX) {
            if self.board.is_stopped() {
                return lease;
            }
            tokio::time::sleep(lease.ttl / RENEWALS_PER_TTL).await;
            match self.renew(&mut lease).await {
                Renewal::Done => {}
                Renewal::Gone => return lease,
                Renewal::Unknown => self.member = (self.member + 1) % self.endpoints.len(),
            }
        }
        if self.rng.random_ratio(1, 3) {
            lease.revoked = Some(self.board.now());
            let mut client = self.endpoints.lease(self.member);
            let revoke = client.lease_revoke(LeaseRevokeRequest { id: lease.id });
            // Revoked or not, nobody renews it any more.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, revoke).await;
        } else {
            tokio::time::sleep(lease.ttl).await;
        }
        lease
    }

    async fn renew(&mut self, lease: &mut Lease) -> Renewal {
        let start = self.board.now();
        let mut client = self.endpoints.lease(self.member);
        let request = futures::stream::iter([LeaseKeepAliveRequest { id: lease.id }]);
        let answer = async {
            let mut answers = client.lease_keep_alive(request).await?.into_inner();
            answers.message().await
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
        self.kept.last_asked.insert(lease.id, self.board.now());
        match answer {
            Ok(Ok(Some(answer))) if answer.ttl > 0 => {
                lease.renewed.push(start);
                Renewal::Done
            }
            Ok(Ok(Some(_))) => Renewal::Gone,
            Ok(Ok(None) | Err(_)) | Err(_) => Renewal::Unknown,
        }
    }
}

enum Renewal {
    Done,
    /// The lease is not there any more.
    Gone,
    Unknown,
}
