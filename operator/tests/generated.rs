//! The committed CRDs are what the types say.

#![allow(clippy::unwrap_used)]

#[test]
fn committed_crd_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/quorate.io_quorateclusters.yaml");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == quorate_operator::crd::schema::quorate_cluster_yaml(),
        "crds/ is stale: run `scripts/cargo run -p quorate-operator --bin crdgen`"
    );
}
