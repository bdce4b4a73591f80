//! When a member serves, and what it tells the cluster about itself first.

use std::time::Duration;

use quorate_core::command::Request;
use quorate_core::feature;
use quorate_core::log::Index;

use crate::store::Store;

/// Between two tries to publish when one failed.
const RETRY: Duration = Duration::from_millis(200);

/// Waits until everything that this member may have answered before is applied. A sole voter also waits until it leads: only then
/// its log's tail is known to be committed.
pub async fn caught_up(store: &Store, serve_from: Index) {
    store.wait_status(|status| status.applied >= serve_from).await;
    // A learner beside the only voter does not wait: it never leads.
    let votes = store.membership().get(store.identity().member_id).is_some_and(|member| !member.learner);
    if votes && store.membership().voters() == 1 {
        store.wait_status(|status| status.is_leader() || store.membership().voters() > 1).await;
    }
}

/// Publishes this member's name and client URLs through raft, and raises the feature level of a cluster that was just founded;
/// returns once both are applied here.
pub async fn publish(store: &Store, client_urls: Vec<String>) {
    let identity = store.identity().clone();
    loop {
        // Also a member that published long ago is ready only in a cluster that has a leader.
        store.wait_status(|status| status.leader != 0).await;
        let membership = store.membership();
        let member = membership.get(identity.member_id);
        let published = member.is_some_and(|m| m.name == identity.name && m.client_urls == client_urls);
        let level = store.status().feature_level;
        if published && level > 0 {
            return;
        }
        let request = match published {
            false => Request::MemberAttributes {
                member: identity.member_id,
                name: identity.name.clone(),
                client_urls: client_urls.clone(),
            },
            true => Request::FeatureLevel(feature::FOUNDING),
        };
        if let Err(error) = store.propose(request).await {
            tracing::warn!(%error, "cannot publish this member's attributes yet");
            tokio::time::sleep(RETRY).await;
        }
    }
}
