//! `etcd_debugging_server_alarms`: every member shows every member's alarms.

use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_api::etcdserverpb::{self as pb, AlarmType};

use crate::member::Member;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Labels and values.
fn shown(member: &Member) -> Vec<String> {
    let (_, page) = member.get("/metrics");
    page.lines().filter_map(|line| line.strip_prefix("etcd_debugging_server_alarms")).map(str::to_owned).collect()
}

async fn until_shown(members: &[Member], wanted: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    for member in members {
        while shown(member) != wanted {
            assert!(Instant::now() < deadline, "{} shows {:?}\n{}", member.name, shown(member), member.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn alarm(member: &Member, action: AlarmAction, member_id: u64) {
    let request = pb::AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Nospace.into() };
    assert_eq!(member.maintenance().alarm(request).await.unwrap().into_inner().alarms.len(), 1);
}

/// A real etcd counts what it applies since its start: 2 when an alarm is raised twice, nothing after a restart, and -1 when the alarm
/// is disarmed then.
#[tokio::test]
async fn an_alarm_is_1_on_every_member_while_it_is_raised_also_after_a_restart_and_0_when_it_is_disarmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = Member::static_cluster(folder.path(), 3);
    members.iter_mut().for_each(Member::start);
    members[0].put("key", "v").await;
    until_shown(&members, &[]).await;
    let id = members[0].until(|state| state.leader_id != 0).await.member_id;
    let sample = |value: u64| format!("{{alarm_type=\"NOSPACE\",server_id=\"{id:x}\"}} {value}");

    alarm(&members[1], AlarmAction::Activate, id).await;
    alarm(&members[1], AlarmAction::Activate, id).await;
    until_shown(&members, &[sample(1)]).await;
    members[2].kill();
    members[2].start();
    members[2].until(|state| state.leader_id != 0).await;
    until_shown(&members, &[sample(1)]).await;

    alarm(&members[1], AlarmAction::Deactivate, id).await;
    until_shown(&members, &[sample(0)]).await;
    members[0].put("key", "again").await;
    assert_eq!(members[2].terminate(), Some(0), "{}", members[2].log());
    members[2].start();
    members[2].until(|state| state.leader_id != 0).await;
    until_shown(&members[..2], &[sample(0)]).await;
    until_shown(&members[2..], &[]).await;
}
