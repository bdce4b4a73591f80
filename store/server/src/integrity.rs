//! The leader compares the members' rolling hashes (`core/integrity`) and raises CORRUPT for a member that has come to another state.
//! That member serves nobody then, and is rebuilt from the others by `quoratectl member rebuild`. While nobody knows who is right the
//! alarm is nobody's (`integrity::NOBODY`), and all serve nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_core::apply::Alarms;
use quorate_core::command::Request;
use quorate_core::integrity::{Confession, Report, Verdict, judge};
use quorate_core::log::MemberId;

use crate::peer::{Call, Reply};
use crate::store::Store;

/// Between two comparisons; each costs a frame and its answer per member.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// How often a member that found damage looks whether to raise its alarm again.
const CONFESS_LOOK: Duration = Duration::from_secs(1);
/// A member that does not answer is compared the next time.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Compares while this member leads; ends with the server.
pub async fn watch(store: Store) {
    let mut interval = tokio::time::interval(COMPARE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !store.0.inbox.is_closed() {
        interval.tick().await;
        if store.status().is_leader() {
            compare_once(&store).await;
        }
    }
}

/// Raises this member's own CORRUPT alarm when it found damage (`store/recovery`), until the cluster knows; ends with the server.
pub async fn confess(store: Store) {
    let (began, mut confession, mut changes) = (Instant::now(), Confession::default(), store.changes());
    while !store.0.inbox.is_closed() {
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if confession.is_due(now_ms, store.is_damaged(), store.is_corrupt(store.identity().member_id))
            && let Err(error) = store.set_corrupt(true).await
        {
            tracing::warn!(%error, "cannot confirm that the CORRUPT alarm is raised, trying again");
        }
        // Damage shows as a change; the timeout is for what did not come of the last try.
        if let Ok(Err(_)) = tokio::time::timeout(CONFESS_LOOK, changes.changed()).await {
            return;
        }
    }
}

async fn compare_once(store: &Store) {
    let reports = reports(store).await;
    let alarms: Alarms = store.status().alarms.iter().copied().collect();
    let (verdict, proposed) = judge(reports, &alarms, &store.membership());
    for alarm in proposed {
        let member = format!("{:x}", alarm.member_id);
        match (&verdict, alarm.action()) {
            (Verdict::Diverged { revision, .. }, AlarmAction::Activate) => tracing::error!(
                member,
                revision,
                "a member's data differ from the majority's; rebuild it: quoratectl member rebuild"
            ),
            (Verdict::Undecided { revision }, AlarmAction::Activate) => tracing::error!(
                revision,
                "members' data differ and no majority of the voters says whose are right, so nobody serves them: start the members \
                 that do not answer, or rebuild those that you know to be wrong: quoratectl member rebuild"
            ),
            _ => tracing::info!(
                member,
                "the CORRUPT alarm is lowered: a majority agrees again, or the member was removed"
            ),
        }
        if let Err(error) = store.propose(Request::Alarm(alarm)).await {
            tracing::warn!(member, %error, "cannot raise or lower the CORRUPT alarm, trying again");
        }
    }
}

/// What every member says that can be asked now, this one included.
async fn reports(store: &Store) -> BTreeMap<MemberId, Report> {
    let this = store.identity().member_id;
    let others: Vec<MemberId> = store.membership().members().map(|member| member.id).filter(|id| *id != this).collect();
    let ask = |id: MemberId| async move {
        match store.peers().call(id, Call::Integrity, CALL_TIMEOUT).await {
            Ok(Reply::Integrity(report)) => Some((id, report)),
            _ => None,
        }
    };
    let speaking = others.into_iter().filter(|id| store.peers().speaks_integrity(*id));
    let mut reports: BTreeMap<MemberId, Report> = join_all(speaking.map(ask)).await.into_iter().flatten().collect();
    if let Ok(inspection) = store.inspect().await {
        reports.insert(this, inspection.integrity);
    }
    reports
}
