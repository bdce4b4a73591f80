//! The gRPC services: they decode, check the shape of a request, ask the store, and answer with etcd's header and errors.
//!
//! `router` finds the service of a path, `admission` refuses what cannot run now, `observe` counts and times the call; each
//! service is a file.

mod admin;
mod admission;
mod auth;
mod cluster;
mod health;
mod held;
mod kv;
mod leader_loss;
mod lease;
mod maintenance;
mod observe;
mod range_stream;
mod reads;
mod recovery;
mod router;
mod watch;

use std::sync::Arc;

use quorate_api::admin::recovery_server::RecoveryServer;
use quorate_api::etcdserverpb::auth_server::AuthServer;
use quorate_api::etcdserverpb::cluster_server::ClusterServer;
use quorate_api::etcdserverpb::kv_server::KvServer;
use quorate_api::etcdserverpb::lease_server::LeaseServer;
use quorate_api::etcdserverpb::maintenance_server::MaintenanceServer;
use quorate_api::health::health_server::HealthServer;

pub use admin::{AdminService, parse_limits};
pub use health::Health;
pub use held::Sent;
pub use observe::{Call, Inbound, Outbound};
pub use router::{Gate, Router};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::Store;

/// What a message may have beyond the largest request, as etcd: names, ids and framing around it.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// All services of the client listeners.
pub fn client_router(store: &Store, metrics: &Arc<Metrics>, health: Health, config: &Config) -> Router {
    let request_bytes_max = store.limits().request_bytes_max;
    let max = request_bytes_max + MESSAGE_OVERHEAD_BYTES;
    let kv = kv::Kv::new(store.clone(), metrics.clone());
    let maintenance = maintenance::Maintenance::new(store.clone(), metrics.clone());
    Router::new(metrics.clone(), admission::gate(store.clone()), config.warning_unary)
        .within(store.budget().clone())
        .with(KvServer::new(kv).max_decoding_message_size(max))
        .with(watch::Watch::new(store.clone(), request_bytes_max))
        .with(LeaseServer::new(lease::Lease::new(store.clone())).max_decoding_message_size(max))
        .with(ClusterServer::new(cluster::Cluster::new(store.clone())).max_decoding_message_size(max))
        .with(MaintenanceServer::new(maintenance).max_decoding_message_size(max))
        .with(AuthServer::new(auth::Auth::new(store.clone())).max_decoding_message_size(max))
        .with(RecoveryServer::new(recovery::Recovery::new(store.clone())))
        .with(HealthServer::new(health))
}
