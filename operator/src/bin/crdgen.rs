//! Writes the CRDs to `crds/` and into the Helm chart; `tests/generated.rs` fails when they are stale.
//!
//! `crdgen [ROOT]`: ROOT is the root of the repository, the current folder when absent.

use std::path::PathBuf;

use quorate_operator::crd::schema;

fn main() -> std::io::Result<()> {
    let root = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    for (path, text) in schema::generated() {
        let path = root.join(path);
        std::fs::write(&path, text)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
