//! Writes the CRDs to `crds/` (or the folder given); `tests/generated.rs` fails when they are stale.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from("crds"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("quorate.io_quorateclusters.yaml");
    std::fs::write(&path, quorate_operator::crd::schema::quorate_cluster_yaml())?;
    println!("wrote {}", path.display());
    Ok(())
}
