//! `quorate.v1.Admin`: what the operator needs of a member, in every phase of its life. On a listener of its own, for a certificate of
//! the operator's CA or a token; see `proto/quorate/v1/admin.proto` for the promises.

mod live;
mod membership;
mod recover;

use std::sync::Arc;

use quorate_api::Error as ApiError;
use quorate_api::admin;
use quorate_api::admin::admin_server::Admin;
use quorate_core::membership::{Member, Membership};
use quorate_core::replica::Role;
use tonic::{Request, Response, Status};

use crate::directory::{self, Owner, Seed, Setting};
use crate::member::{Admission, Phase, Planes, unix_seconds};
use crate::store::{Limits, Store, Timers};
use crate::version;

/// The service; see the module.
pub struct AdminService {
    admission: Arc<Admission>,
    /// One push at a time: what is in force is what was made durable last.
    changing: tokio::sync::Mutex<()>,
}

impl AdminService {
    pub fn new(admission: Arc<Admission>) -> AdminService {
        AdminService { admission, changing: tokio::sync::Mutex::default() }
    }

    /// With a token configured, a call must carry it.
    fn authorize<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(token) = self.admission.token() else { return Ok(()) };
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
        let same = given.is_some_and(|given| equal_in_constant_time(given.as_bytes(), token.as_bytes()));
        if same { Ok(()) } else { Err(Status::unauthenticated("the admin token is missing or wrong")) }
    }

    /// As `authorize`; and nothing but the member's state is answered while its directory is refused.
    fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.authorize(request)?;
        self.admission.directory().map(drop).map_err(refused)
    }

    fn store(&self) -> Result<Arc<Store>, Status> {
        let not_running = || Status::unavailable(format!("raft does not run: phase {:?}", self.admission.phase()));
        self.admission.store().ok_or_else(not_running)
    }
}

/// Takes as long for a wrong token as for the right one.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn refused(error: crate::member::Refused) -> Status {
    Status::failed_precondition(error.to_string())
}

fn disk(error: directory::Error) -> Status {
    match error {
        error @ (directory::Error::Stale { .. }
        | directory::Error::Recovering { .. }
        | directory::Error::NotRemoved { .. }
        | directory::Error::OtherOwner { .. }) => Status::failed_precondition(error.to_string()),
        error => Status::internal(error.to_string()),
    }
}

fn configuration(cluster_id: u64, membership: &Membership) -> admin::Configuration {
    admin::Configuration {
        cluster_id,
        index: membership.index(),
        members: membership.members().map(Member::to_message).collect(),
        joint: membership.is_joint(),
        leaving: membership.leaving().collect(),
    }
}

fn alarms(alarms: &[quorate_api::etcdserverpb::AlarmMember]) -> Vec<admin::Alarm> {
    alarms
        .iter()
        .map(|alarm| admin::Alarm { member_id: alarm.member_id, r#type: alarm.alarm().as_str_name().to_owned() })
        .collect()
}

fn wire_limits(limits: Limits) -> admin::Limits {
    admin::Limits {
        quota_bytes: limits.quota_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        request_bytes_max: limits.request_bytes_max as u64,
        txn_ops_max: limits.txn_ops_max as u64,
    }
}

/// Limits as pushed; 0 of the quota means etcd's default.
pub fn parse_limits(limits: &directory::Limits) -> Limits {
    const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;
    let quota_bytes = match limits.quota_bytes {
        0 => Some(QUOTA_DEFAULT_BYTES),
        bytes => u64::try_from(bytes).ok(),
    };
    Limits {
        quota_bytes,
        request_bytes_max: usize::try_from(limits.request_bytes_max).unwrap_or(usize::MAX),
        txn_ops_max: usize::try_from(limits.txn_ops_max).unwrap_or(usize::MAX),
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn found(&self, request: Request<admin::FoundRequest>) -> Result<Response<admin::FoundResponse>, Status> {
        self.enter(&request)?;
        let admin::FoundRequest { owner_uid, owner_name, member_name, peer_urls, expected_cluster_id, disk_id } =
            request.into_inner();
        let owner = Owner { uid: owner_uid, name: owner_name };
        let admission = self.admission.clone();
        let founded = blocking(move || admission.found(owner, &member_name, peer_urls, expected_cluster_id, &disk_id));
        let identity = founded.await?.map_err(refused)?;
        Ok(Response::new(admin::FoundResponse { cluster_id: identity.cluster_id, member_id: identity.member_id }))
    }

    async fn admit(&self, request: Request<admin::AdmitRequest>) -> Result<Response<admin::AdmitResponse>, Status> {
        self.enter(&request)?;
        let admin::AdmitRequest { member_id, owner_uid, owner_name, disk_id, configuration } = request.into_inner();
        let configuration = configuration.ok_or_else(|| Status::invalid_argument("configuration is missing"))?;
        let seeds = configuration.members.into_iter().map(Seed::from).collect();
        let owner = Owner { uid: owner_uid, name: owner_name };
        let admission = self.admission.clone();
        let cluster_id = configuration.cluster_id;
        blocking(move || admission.admit(owner, member_id, cluster_id, seeds, &disk_id)).await?.map_err(refused)?;
        Ok(Response::new(admin::AdmitResponse {}))
    }

    async fn adopt(&self, request: Request<admin::AdoptRequest>) -> Result<Response<admin::AdoptResponse>, Status> {
        self.enter(&request)?;
        let admin::AdoptRequest { cluster_id, owner_uid, owner_name } = request.into_inner();
        let admission = self.admission.clone();
        let owner = Owner { uid: owner_uid, name: owner_name };
        blocking(move || admission.adopt(cluster_id, owner)).await?.map_err(refused)?;
        Ok(Response::new(admin::AdoptResponse {}))
    }

    async fn member_state(
        &self,
        request: Request<admin::MemberStateRequest>,
    ) -> Result<Response<admin::MemberStateResponse>, Status> {
        self.authorize(&request)?;
        let member = self.admission.member();
        let (owner, identity) =
            member.as_ref().map_or((None, None), |member| (member.owner.clone(), member.identity.clone()));
        let owner = owner.unwrap_or(Owner { uid: String::new(), name: String::new() });
        let (client_ca_sha256, peer_ca_sha256) = bundles(self.admission.planes());
        let mut state = admin::MemberStateResponse {
            phase: phase(self.admission.phase()).into(),
            cluster_id: identity.as_ref().map_or(0, |identity| identity.cluster_id),
            member_id: identity.as_ref().map_or(0, |identity| identity.member_id),
            member_name: self.admission.member_name().to_owned(),
            disk_id: member.as_ref().map_or_else(String::new, |member| member.disk_id.clone()),
            owner_uid: owner.uid,
            owner_name: owner.name,
            version: version::QUORATE.to_owned(),
            client_ca_sha256,
            peer_ca_sha256,
            disk_age_seconds: member
                .as_ref()
                .map_or(0, |member| unix_seconds().saturating_sub(member.born_unix_seconds)),
            refusal: self.admission.refusal().unwrap_or_default().to_owned(),
            // What a restart of a fenced member would have forgotten.
            leaderless: member.as_ref().is_some_and(|member| member.fenced_leaderless),
            draining: self.admission.drain().is_on(),
            client_connections: self.admission.drain().connections(),
            timers_generation: member
                .as_ref()
                .and_then(|member| member.timers.as_ref())
                .map_or(0, |pushed| pushed.generation),
            ..Default::default()
        };
        if let Some(store) = self.admission.store() {
            running_state(&store, &mut state).await;
            let Timers { heartbeat, election } = store.timers();
            state.timers = Some(admin::Timers {
                heartbeat_milliseconds: millis(heartbeat),
                election_milliseconds: millis(election),
            });
        }
        Ok(Response::new(state))
    }

    async fn configuration(
        &self,
        request: Request<admin::ConfigurationRequest>,
    ) -> Result<Response<admin::ConfigurationResponse>, Status> {
        self.enter(&request)?;
        let store = self.store()?;
        store.linearizable().await?;
        let configuration = configuration(store.identity().cluster_id, &store.membership());
        Ok(Response::new(admin::ConfigurationResponse { configuration: Some(configuration) }))
    }

    async fn change_membership(
        &self,
        request: Request<admin::ChangeMembershipRequest>,
    ) -> Result<Response<admin::ChangeMembershipResponse>, Status> {
        self.enter(&request)?;
        let store = self.store()?;
        if !store.status().is_leader() {
            return Err(ApiError::NotLeader.into());
        }
        let admin::ChangeMembershipRequest { expected_index, change } = request.into_inner();
        let change = membership::requested(change)?;
        let member_ids = change.members();
        let member_id = member_ids.first().copied().unwrap_or_default();
        membership::carry_out(&store, change, expected_index).await?;
        let configuration = configuration(store.identity().cluster_id, &store.membership());
        let configuration = Some(configuration);
        Ok(Response::new(admin::ChangeMembershipResponse { member_id, configuration, member_ids }))
    }

    async fn set_timers(
        &self,
        request: Request<admin::SetTimersRequest>,
    ) -> Result<Response<admin::SetTimersResponse>, Status> {
        self.enter(&request)?;
        self.push_timers(request.into_inner()).await?;
        Ok(Response::new(admin::SetTimersResponse {}))
    }

    async fn set_limits(
        &self,
        request: Request<admin::SetLimitsRequest>,
    ) -> Result<Response<admin::SetLimitsResponse>, Status> {
        self.enter(&request)?;
        let admin::SetLimitsRequest { generation, limits } = request.into_inner();
        let limits = limits.ok_or_else(|| Status::invalid_argument("limits are missing"))?;
        let admin::Limits { quota_bytes, request_bytes_max, txn_ops_max } = limits;
        if request_bytes_max == 0 || txn_ops_max == 0 {
            return Err(Status::invalid_argument(format!(
                "request_bytes_max is {request_bytes_max} and txn_ops_max {txn_ops_max}; both must be above 0"
            )));
        }
        let limits = directory::Limits { quota_bytes, request_bytes_max, txn_ops_max };
        let _one = self.changing.lock().await;
        self.keep(move |member| Setting::push(&mut member.limits, generation, limits)).await?;
        if let Some(store) = self.admission.store() {
            store.set_limits(parse_limits(&limits));
        }
        Ok(Response::new(admin::SetLimitsResponse {}))
    }

    async fn set_log_level(
        &self,
        request: Request<admin::SetLogLevelRequest>,
    ) -> Result<Response<admin::SetLogLevelResponse>, Status> {
        self.enter(&request)?;
        let admin::SetLogLevelRequest { generation, level } = request.into_inner();
        let parsed: crate::config::LogLevel =
            level.parse().map_err(|error: crate::config::UnknownLevel| Status::invalid_argument(error.to_string()))?;
        let _one = self.changing.lock().await;
        self.keep(move |member| Setting::push(&mut member.log_level, generation, level)).await?;
        self.admission.log.set_level(parsed);
        Ok(Response::new(admin::SetLogLevelResponse {}))
    }

    async fn reload_tls(
        &self,
        request: Request<admin::ReloadTlsRequest>,
    ) -> Result<Response<admin::ReloadTlsResponse>, Status> {
        self.enter(&request)?;
        let planes = self.admission.planes();
        for plane in [&planes.client, &planes.peer, &planes.admin].into_iter().flatten() {
            plane.reload().map_err(|error| Status::failed_precondition(error.to_string()))?;
        }
        let (client_ca_sha256, peer_ca_sha256) = bundles(planes);
        Ok(Response::new(admin::ReloadTlsResponse { client_ca_sha256, peer_ca_sha256 }))
    }

    async fn fence(&self, request: Request<admin::FenceRequest>) -> Result<Response<admin::FenceResponse>, Status> {
        self.enter(&request)?;
        self.push_fence(request.into_inner()).await?;
        Ok(Response::new(admin::FenceResponse {}))
    }

    async fn recover(
        &self,
        request: Request<admin::RecoverRequest>,
    ) -> Result<Response<admin::RecoverResponse>, Status> {
        self.enter(&request)?;
        Ok(Response::new(self.begin_recovery(request.into_inner()).await?))
    }

    async fn drain(&self, request: Request<admin::DrainRequest>) -> Result<Response<admin::DrainResponse>, Status> {
        self.authorize(&request)?;
        self.admission.drain().set(request.into_inner().draining);
        Ok(Response::new(admin::DrainResponse {}))
    }

    async fn set_aside(
        &self,
        request: Request<admin::SetAsideRequest>,
    ) -> Result<Response<admin::SetAsideResponse>, Status> {
        self.enter(&request)?;
        let owner_uid = request.into_inner().owner_uid;
        let directory = self.admission.directory().map_err(refused)?.clone();
        let path = blocking(move || directory.set_aside(&owner_uid)).await?.map_err(disk)?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Response::new(admin::SetAsideResponse { path: name }))
    }

    async fn raise_feature_level(
        &self,
        request: Request<admin::RaiseFeatureLevelRequest>,
    ) -> Result<Response<admin::RaiseFeatureLevelResponse>, Status> {
        self.enter(&request)?;
        membership::raise_feature_level(&*self.store()?, request.into_inner().level).await?;
        Ok(Response::new(admin::RaiseFeatureLevelResponse {}))
    }

    async fn hand_over(
        &self,
        request: Request<admin::HandOverRequest>,
    ) -> Result<Response<admin::HandOverResponse>, Status> {
        self.enter(&request)?;
        let store = self.store()?;
        let wanted = request.into_inner().member_id;
        let target = if wanted == 0 { store.successor().await? } else { wanted };
        store.move_leader(target).await?;
        Ok(Response::new(admin::HandOverResponse { leader_id: store.status().leader }))
    }
}

/// The directory syncs files: off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))
}

fn phase(phase: Phase) -> admin::Phase {
    match phase {
        Phase::Awaiting => admin::Phase::AwaitingAdmission,
        Phase::AwaitingAdoption => admin::Phase::AwaitingAdoption,
        Phase::Starting => admin::Phase::Starting,
        Phase::Running => admin::Phase::Running,
        Phase::Removed => admin::Phase::Removed,
        Phase::Refused => admin::Phase::Refused,
        Phase::Fenced => admin::Phase::Fenced,
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Hashes of the CA bundles in force for clients and for peers, lower-case hex; empty without a bundle.
fn bundles(planes: &Planes) -> (String, String) {
    let sha256 = |plane: &Option<crate::tls::Plane>| plane.as_ref().map_or(String::new(), |plane| plane.ca_sha256());
    (sha256(&planes.client), sha256(&planes.peer))
}

/// What only a running member knows.
async fn running_state(store: &Store, state: &mut admin::MemberStateResponse) {
    let status = store.status();
    let role = match (status.role, status.is_learner) {
        (_, true) => admin::Role::Learner,
        (Role::Leader, _) => admin::Role::Leader,
        (Role::Follower, _) => admin::Role::Follower,
        (Role::PreCandidate | Role::Candidate, _) => admin::Role::Candidate,
    };
    state.role = role.into();
    state.leader_id = status.leader;
    state.term = status.term;
    state.committed_index = status.committed;
    state.applied_index = status.applied;
    state.lag_entries = status.committed.saturating_sub(status.applied);
    state.revision = status.revision;
    state.compact_revision = status.compact_revision;
    state.db_size_bytes = i64::try_from(status.db_size).unwrap_or(i64::MAX);
    state.db_size_in_use_bytes = i64::try_from(status.db_size_in_use).unwrap_or(i64::MAX);
    state.feature_level = status.feature_level;
    state.configuration = Some(configuration(store.identity().cluster_id, &store.membership()));
    state.alarms = alarms(&status.alarms);
    let limits = wire_limits(store.limits());
    state.quota_bytes = limits.quota_bytes;
    state.limits = Some(limits);
    let links = store.peers().all_links();
    if let Ok(inspection) = store.inspect().await {
        state.leaderless |= inspection.leaderless;
        state.progress = inspection
            .progress
            .into_iter()
            .map(|progress| admin::Progress {
                member_id: progress.id,
                match_index: progress.match_index,
                recently_active: progress.recently_active,
                round_trip_microseconds: links
                    .get(&progress.id)
                    .map_or(0, |link| u64::try_from(link.round_trip.as_micros()).unwrap_or(0)),
            })
            .collect();
    }
}
