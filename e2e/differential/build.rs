//! Compiles the services' .proto files to descriptors, from which every request, option and answer is known by name.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const PROTOS: [&str; 9] = [
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/auth.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = "../../store/api/proto";
    println!("cargo:rerun-if-changed={folder}");
    let descriptors = protox::compile(PROTOS, [folder])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
