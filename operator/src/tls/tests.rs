//! Certificates: what is made, when it is renewed, and who is trusted.

use super::*;
use crate::plan::fixture;

#[test]
fn leaf_is_signed_by_its_authority_and_names_only_this_cluster() {
    let desired = fixture::desired(3);
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let peers = authority(&desired, Plane::Peers, now).unwrap();
    let pair = leaf(&desired, LeafKind::Peer, &peers, now).unwrap();
    let block = Pem::iter_from_buffer(pair.certificate.as_bytes()).next().unwrap().unwrap();
    let certificate = block.parse_x509().unwrap();
    let issuer = Pem::iter_from_buffer(peers.certificate.as_bytes()).next().unwrap().unwrap();
    let issuer = issuer.parse_x509().unwrap();
    assert_eq!(certificate.issuer(), issuer.subject());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert!(names.iter().all(|name| name.contains("main-peers.team.svc")), "{names:?}");
}

#[test]
fn leaf_is_backdated_and_renewed_thirty_days_before_its_end() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let admin = authority(&fixture::desired(1), Plane::Admin, now).unwrap();
    let life = life(operator_client(&admin, now).unwrap().certificate.as_bytes()).unwrap();
    assert_eq!(life.not_after, "2026-04-01T00:00:00Z".parse().unwrap());
    assert_eq!(life.renew_at, "2026-03-02T00:00:00Z".parse().unwrap());
}
