//! The operator that turns a `QuorateCluster` into a running cluster and keeps it so.
//!
//! Pipeline: `observe` (the only reader) → `plan` (pure) → `status` (one patch) → `act` (the only writer, one action).
//! In reading order:

pub mod controller;

pub mod auto;
pub mod claim;
pub mod crd;
pub mod desired;
pub mod id;
pub mod latch;
pub mod observed;

pub mod act;
pub mod observe;
pub mod plan;
pub mod render;
pub mod status;

pub mod member_client;
pub mod tls;

pub mod http;
pub mod leader;
pub mod metrics;
pub mod telemetry;
