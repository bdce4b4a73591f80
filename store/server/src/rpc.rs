//! The gRPC services: they decode, check the shape of a request, ask the store, and answer with etcd's header and errors.
//!
//! `router` finds the service of a path, `admission` refuses what cannot run now, `observe` counts and times the call; each
//! service is a file.

mod admin;
mod admission;
mod auth;
mod bounded;
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

use bounded::Bounded;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::Store;

/// All services of the client listeners.
pub fn client_router(store: &Store, metrics: &Arc<Metrics>, health: Health, config: &Config) -> Router {
    let kv = KvServer::new(kv::Kv::new(store.clone(), metrics.clone()));
    let lease = LeaseServer::new(lease::Lease::new(store.clone()));
    let cluster = ClusterServer::new(cluster::Cluster::new(store.clone()));
    let maintenance = MaintenanceServer::new(maintenance::Maintenance::new(store.clone(), metrics.clone()));
    let auth = AuthServer::new(auth::Auth::new(store.clone()));
    Router::new(metrics.clone(), admission::gate(store.clone()), config.warning_unary)
        .within(store.budget().clone())
        .with(Bounded::new(kv, store, KvServer::max_decoding_message_size))
        .with(watch::Watch::new(store.clone()))
        .with(Bounded::new(lease, store, LeaseServer::max_decoding_message_size))
        .with(Bounded::new(cluster, store, ClusterServer::max_decoding_message_size))
        .with(Bounded::new(maintenance, store, MaintenanceServer::max_decoding_message_size))
        .with(Bounded::new(auth, store, AuthServer::max_decoding_message_size))
        .with(RecoveryServer::new(recovery::Recovery::new(store.clone())))
        .with(HealthServer::new(health))
}
