//! Cluster: the members and their changes (`etcd-surface` 2.9). Headers of this service have revision 0.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_api::Error;
use quorate_api::etcdserverpb::{self as pb, cluster_server};
use quorate_core::membership::{Change, Member, added_member_id};
use tonic::{Request, Response, Status};

use crate::config::url;
use crate::store::Store;

/// The service.
pub struct Cluster {
    store: Store,
}

impl Cluster {
    pub fn new(store: Store) -> Cluster {
        Cluster { store }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader { revision: 0, ..self.store.header(0) })
    }
}

/// Peer URLs as they are kept: sorted, each once.
fn peer_urls(given: &[String]) -> Result<Vec<String>, Error> {
    if given.is_empty() {
        return Err(Error::MemberBadURLs);
    }
    let mut urls = given
        .iter()
        .map(|text| text.parse::<url::Url>().map(|url| url.to_string()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Error::MemberBadURLs)?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let pb::MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let peer_urls = peer_urls(&peer_ur_ls)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = added_member_id(&peer_urls, now);
        let member = Member { id, peer_urls, learner: is_learner, ..Member::default() };
        let change = if is_learner { Change::AddLearner(member) } else { Change::AddVoter(member) };
        let members = self.store.change_membership(change).await?;
        let member = members.iter().find(|member| member.id == id).cloned();
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let members = self.store.change_membership(Change::Remove(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        if self.store.membership().get(id).is_none() {
            return Err(Error::MemberNotFound.into());
        }
        let change = Change::UpdatePeerUrls { id, peer_urls: peer_urls(&peer_ur_ls)? };
        let members = self.store.change_membership(change).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.store.linearizable().await?;
        }
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members: self.store.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let members = self.store.change_membership(Change::Promote(request.into_inner().id)).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
