//! The gRPC services: they decode, check the shape of a request, ask the store, and answer with etcd's header and errors.
//!
//! `router` finds the service of a path, `observe` counts and times the call; each service is a file.

mod health;
mod observe;
mod router;

pub use health::Health;
pub use observe::{Call, Inbound, Outbound};
pub use router::{Gate, Router};

/// What a message may have beyond the largest request, as etcd: names, ids and framing around it.
pub const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;
