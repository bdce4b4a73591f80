//! Members that encrypt what they say to each other by certificates that they make themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::handshake;
use crate::member::Member;

fn file(member: &Member, name: &str) -> PathBuf {
    member.data_dir().join("fixtures/peer").join(name)
}

#[tokio::test]
async fn three_members_with_peer_auto_tls_replicate_over_tls_and_keep_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster_with_peer_auto_tls(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    let revision = members[0].put("k", "v").await.header.unwrap().revision;
    for member in &members {
        member.until(|state| state.revision >= revision).await;
    }
    let certificate = |member: &Member| fs::read_to_string(file(member, "cert.pem")).unwrap();
    let before: Vec<String> = members.iter().map(certificate).collect();
    assert!(before[0] != before[1] && before[1] != before[2], "each has its own");
    for (member, certificate) in members.iter().zip(&before) {
        assert_eq!(fs::metadata(file(member, "key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        let stream = handshake::connect(member.peer, certificate).unwrap();
        assert_eq!(handshake::shown(&stream), handshake::der(certificate), "it is what the peer listener shows");
        assert!(
            handshake::connect(
                member.peer,
                &before[(before.iter().position(|one| one == certificate).unwrap() + 1) % 3]
            )
            .is_err()
        );
        assert_eq!(member.log().matches("automatically generate certificates").count(), 1, "{}", member.log());
    }

    // A pair that is there is used again; half of one is made anew.
    members.iter_mut().for_each(|member| assert_eq!(member.terminate(), Some(0)));
    fs::remove_file(file(&members[2], "key.pem")).unwrap();
    members.iter_mut().for_each(Member::start);
    let revision = members[1].put("k", "w").await.header.unwrap().revision;
    for member in &members {
        member.until(|state| state.revision >= revision).await;
    }
    let after: Vec<String> = members.iter().map(certificate).collect();
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    handshake::connect(members[2].peer, &after[2]).unwrap();
}

#[tokio::test]
async fn a_member_without_tls_cannot_talk_to_those_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster_with_peer_auto_tls(folder.path(), 1);
    members[0].start();
    members[0].put("k", "v").await;
    let mut plain = Member::existing(folder.path(), "plain", &[&members[0]]);
    plain.start();
    assert_eq!(plain.until_exit().await, Some(1));
    assert!(plain.log().contains("wants TLS"), "{}", plain.log());
}
