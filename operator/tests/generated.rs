//! The committed CRDs are what the types say.

#![allow(clippy::unwrap_used)]

#[test]
fn committed_crds_are_current() {
    for (path, text) in quorate_operator::crd::schema::generated() {
        let committed =
            std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default();
        assert!(committed == text, "{path} is stale: run `scripts/cargo run -p quorate-operator --bin crdgen`");
    }
}
