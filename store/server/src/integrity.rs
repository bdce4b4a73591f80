//! The leader compares the members' rolling hashes (`core/integrity`) and raises CORRUPT for a member that has come to another state.
//! That member serves nobody then, and is rebuilt from the others by `quoratectl member rebuild`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use quorate_core::integrity::{Report, Verdict, compare};
use quorate_core::log::MemberId;

use crate::peer::{Call, Reply};
use crate::store::Store;

/// Between two comparisons; each costs a frame and its answer per member.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two tries to raise this member's own alarm.
const CONFESS_AGAIN: Duration = Duration::from_secs(2);
const CONFESS_AGAIN_MAX: Duration = Duration::from_secs(60);
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
    let mut changes = store.changes();
    let this = store.identity().member_id;
    while changes.changed().await.is_ok() && !store.0.inbox.is_closed() {
        if !store.is_damaged() || store.is_corrupt(this) {
            continue;
        }
        let mut pause = CONFESS_AGAIN;
        while store.is_damaged() && !store.0.inbox.is_closed() {
            match store.set_corrupt(this, true).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "cannot confirm that the CORRUPT alarm is raised, trying again"),
            }
            tokio::time::sleep(pause).await;
            // A member that applies nothing any more never sees its own alarm.
            pause = (pause * 2).min(CONFESS_AGAIN_MAX);
        }
    }
}

async fn compare_once(store: &Store) {
    let reports = reports(store).await;
    let (revision, members, decided) = match compare(&reports) {
        Verdict::Equal => return,
        Verdict::Diverged { revision, members } => (revision, members, true),
        Verdict::Undecided { revision, members } => (revision, members, false),
    };
    for id in members {
        if store.is_corrupt(id) {
            continue;
        }
        let member = format!("{id:x}");
        if decided {
            tracing::error!(
                member,
                revision,
                "a member's data differ from the majority's; rebuild it: quoratectl member rebuild"
            );
        } else {
            tracing::error!(member, revision, "members' data differ and no majority says whose are right");
        }
        if let Err(error) = store.set_corrupt(id, true).await {
            tracing::warn!(member, %error, "cannot raise the CORRUPT alarm, trying again");
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
