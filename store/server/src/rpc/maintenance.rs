//! Maintenance: status, alarms, defragmentation, hashes, leadership (`etcd-surface` 2.10).

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, AlarmType, maintenance_server};
use quorate_core::apply;
use quorate_core::command::Request as Command;
use quorate_core::mvcc;
use tonic::{Request, Response, Status};

use super::reads::Reads;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::version;

/// The service.
pub struct Maintenance {
    store: Store,
    metrics: Arc<Metrics>,
    reads: Reads,
}

impl Maintenance {
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Maintenance {
        Maintenance { store, metrics, reads: Reads::new() }
    }
}

/// What is wrong with this member, as etcd writes it.
fn errors(status: &crate::store::Status) -> Vec<String> {
    let mut errors = Vec::new();
    if status.leader == 0 {
        errors.push(Error::NoLeader.to_string());
    }
    errors.extend(status.alarms.iter().map(|alarm| {
        let kind = AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
        // As Go prints a message: what is 0 is left out.
        if alarm.member_id == 0 {
            format!("alarm:{kind}")
        } else {
            format!("memberID:{} alarm:{kind}", alarm.member_id)
        }
    }));
    errors
}

fn to_i64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        match self.store.propose(Command::Alarm(request.into_inner())).await? {
            apply::Response::Alarm(mut response) => {
                let revision = response.header.as_ref().map_or(0, |header| header.revision);
                response.header = Some(self.store.header(revision));
                Ok(Response::new(response))
            }
            other => unreachable!("an alarm is answered with {other:?}"),
        }
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.store.status();
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.store.header(0)),
            version: version::ETCD.to_owned(),
            db_size: to_i64(status.db_size),
            leader: status.leader,
            raft_index: status.committed,
            raft_term: status.term,
            raft_applied_index: status.applied,
            errors: errors(&status),
            db_size_in_use: to_i64(status.db_size_in_use),
            is_learner: status.is_learner,
            storage_version: version::ETCD_CLUSTER.to_owned(),
            db_size_quota: self.store.limits().quota_bytes.map_or(0, to_i64),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.store.defragment().await?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(Status::unimplemented("Hash is not supported: it is about etcd's database file; use HashKV"))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        let revision = request.into_inner().revision;
        let started = std::time::Instant::now();
        let (mvcc::HashKv { hash, compact_revision, hash_revision }, current) = self
            .reads
            .walk(&self.store, Store::view, move |view| {
                Ok((mvcc::hash_kv(&**view, &view.state, revision)?, view.state.revision))
            })
            .await?;
        self.metrics.mvcc.hash_rev.observe(started.elapsed().as_secs_f64());
        let header = Some(self.store.header(current));
        Ok(Response::new(pb::HashKvResponse { header, hash, compact_revision, hash_revision }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented("Snapshot is not supported yet: read all keys at one revision instead"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.store.move_leader(request.into_inner().target_id).await?;
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Status::unimplemented("Downgrade is not supported yet: there is no older version to go back to"))
    }
}
