//! Compiles `proto/` with protox, so that no protoc is needed. Servers and clients are generated only with the feature
//! `services`; `quorate-core` takes the messages alone.

use std::error::Error;

const PROTOS: [&str; 17] = [
    "mvccpb/kv.proto",
    "authpb/auth.proto",
    "membershippb/membership.proto",
    "leasepb/lease.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/auth.proto",
    "etcdserverpb/raft_internal.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "quorate/v1/admin.proto",
    "quorate/v1/recovery.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let services = std::env::var_os("CARGO_FEATURE_SERVICES").is_some();
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().build_client(services).build_server(services).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
