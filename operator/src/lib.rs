//! The operator that turns a `QuorateCluster` into a running cluster and keeps it so.
//!
//! Pipeline: `observe` (the only reader) → `plan` (pure) → `act` (the only writer, one action) → `status`.

pub mod crd;
pub mod desired;
pub mod id;
pub mod latch;
pub mod observed;
pub mod plan;
pub mod render;
pub mod tls;
