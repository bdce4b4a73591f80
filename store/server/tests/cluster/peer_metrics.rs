//! What a member's metrics say of the others: round trips, lost connections, snapshots under way.

use std::time::{Duration, Instant};

use crate::member::Member;

const PATIENCE: Duration = Duration::from_secs(30);

/// The value of a series, if it is shown.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Waits until a series of this member is as wanted.
async fn until(member: &Member, series: &str, wanted: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, page) = member.get("/metrics");
        let found = value(&page, series);
        if found.is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{series} is {found:?} in\n{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn connections_to_the_others_are_measured_and_their_loss_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    let mut ids = Vec::new();
    for member in &members {
        member.put("k", "v").await;
        ids.push(format!("{:x}", member.until(|state| state.leader_id != 0).await.member_id));
    }
    for other in [1, 2] {
        let to = format!("{{To=\"{}\"}}", ids[other]);
        until(&members[0], &format!("etcd_network_peer_round_trip_time_seconds_count{to}"), |count| count >= 1.0).await;
        let between = format!("{{Local=\"{}\",Remote=\"{}\"}}", ids[0], ids[other]);
        until(&members[0], &format!("etcd_network_active_peers{between}"), |active| active == 1.0).await;
        until(&members[0], &format!("etcd_network_known_peers{between}"), |known| known == 1.0).await;
    }
    members[2].kill();
    let between = format!("{{Local=\"{}\",Remote=\"{}\"}}", ids[0], ids[2]);
    until(&members[0], &format!("etcd_network_disconnected_peers_total{between}"), |lost| lost >= 1.0).await;
    until(&members[0], &format!("etcd_network_active_peers{between}"), |active| active == 0.0).await;
    let to = format!("{{To=\"{}\"}}", ids[2]);
    until(&members[0], &format!("etcd_network_peer_sent_failures_total{to}"), |failures| failures >= 1.0).await;
}

/// The number of snapshots that a member has sent to or received from anybody.
pub fn snapshots(member: &Member, verb: &str) -> f64 {
    let (_, page) = member.get("/metrics");
    let series = format!("etcd_network_snapshot_{verb}_success");
    let values = page.lines().filter(|line| line.starts_with(&series));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
