//! Speaks `quorate.v1.Admin` with one member: to the pod's address, so that no DNS is needed, with the TLS name that
//! only this member's certificate carries, and with the operator's certificate or a token.

use std::time::Duration;

use quorate_api::admin::admin_client::AdminClient;
use quorate_api::admin::{self as proto, change_membership_request};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::desired::{Limits, Timers};
use crate::id::Id;
use crate::observed::{Bundles, Configuration, ConfiguredMember, MemberPhase, MemberState, Progress, Role};
use crate::plan::MembershipChange;
use crate::tls::Pair;

/// Port of the admin service in every pod.
const PORT: u16 = 2_382;
/// A member that cannot be connected to in this time is silent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than an election, so that a change survives one.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A membership change waits for its commit, a hand-over for another leader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the operator shows who it is.
#[derive(Clone)]
pub enum Access {
    /// Mutual TLS by the admin authority.
    Tls {
        authority: String,
        client: Pair,
    },
    Token(String),
}

/// Why a member gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no connection: {}", chain(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(#[from] Status),
    #[error("the answer lacks {field}")]
    Incomplete { field: &'static str },
    #[error("the token holds characters that a header cannot carry: delete the Secret, and a new one is made")]
    Token,
}

impl Error {
    /// The world moved on since the action was planned: observing again is the remedy.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Refused(status) if matches!(status.code(), tonic::Code::Aborted | tonic::Code::FailedPrecondition))
    }

    /// The member's release does not know the call, or says that it cannot do it yet.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == tonic::Code::Unimplemented)
    }
}

/// An error with its causes; what a layer repeats of the one above it is said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        match parts.last_mut() {
            Some(last) if said.starts_with(last.as_str()) => *last = said,
            Some(last) if last.ends_with(&said) => {}
            _ => parts.push(said),
        }
        source = cause.source();
    }
    parts.join(": ")
}

#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection to one member.
pub struct Member {
    client: AdminClient<InterceptedService<Channel, Bearer>>,
}

impl Member {
    /// Connects to a pod's address; `host` is the name that its certificate must carry.
    pub async fn connect(address: &str, host: &str, access: &Access) -> Result<Self, Error> {
        Self::connect_within(CONNECT_TIMEOUT, address, host, access).await
    }

    /// `limit` is TCP's and that of TLS after it: of a process that stands still, or is gone while the network loses packets, the
    /// kernel accepts connections that nobody ever answers.
    async fn connect_within(limit: Duration, address: &str, host: &str, access: &Access) -> Result<Self, Error> {
        let authority = if address.contains(':') { format!("[{address}]:{PORT}") } else { format!("{address}:{PORT}") };
        let (endpoint, bearer) = match access {
            Access::Tls { authority: ca, client } => {
                let tls = ClientTlsConfig::new()
                    .ca_certificate(Certificate::from_pem(ca))
                    .identity(Identity::from_pem(&client.certificate, &client.key))
                    .domain_name(host)
                    .timeout(limit);
                (Endpoint::from_shared(format!("https://{authority}"))?.tls_config(tls)?, None)
            }
            Access::Token(token) => {
                let value = format!("Bearer {token}").parse().map_err(|_| Error::Token)?;
                (Endpoint::from_shared(format!("http://{authority}"))?, Some(value))
            }
        };
        let channel = endpoint.connect_timeout(limit).connect().await?;
        Ok(Self { client: AdminClient::with_interceptor(channel, Bearer(bearer)) })
    }

    /// The facts about the member.
    pub async fn state(&mut self) -> Result<MemberState, Error> {
        let state = self.client.member_state(timed(proto::MemberStateRequest {}, CONNECT_TIMEOUT)).await?;
        Ok(member_state(state.into_inner()))
    }

    /// The configuration, read linearizably.
    pub async fn configuration(&mut self) -> Result<Configuration, Error> {
        let answer = self.client.configuration(timed(proto::ConfigurationRequest {}, CALL_TIMEOUT)).await?.into_inner();
        answer.configuration.map(configuration).ok_or(Error::Incomplete { field: "configuration" })
    }

    /// Founds a cluster of this member.
    pub async fn found(&mut self, request: proto::FoundRequest) -> Result<(), Error> {
        self.client.found(timed(request, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Admits the member into the configuration that holds it.
    pub async fn admit(
        &mut self,
        member_id: Id,
        disk_id: &str,
        owner: (&str, &str),
        within: &Configuration,
    ) -> Result<(), Error> {
        let request = proto::AdmitRequest {
            member_id: member_id.0,
            owner_uid: owner.0.to_owned(),
            owner_name: owner.1.to_owned(),
            disk_id: disk_id.to_owned(),
            configuration: Some(to_configuration(within)),
        };
        self.client.admit(timed(request, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Hands the member's disk to another owner.
    pub async fn adopt(&mut self, cluster_id: Id, owner: (&str, &str)) -> Result<(), Error> {
        let request = proto::AdoptRequest {
            cluster_id: cluster_id.0,
            owner_uid: owner.0.to_owned(),
            owner_name: owner.1.to_owned(),
        };
        self.client.adopt(timed(request, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Renames the directory of a removed member.
    pub async fn set_aside(&mut self, owner_uid: &str) -> Result<(), Error> {
        let request = proto::SetAsideRequest { owner_uid: owner_uid.to_owned() };
        self.client.set_aside(timed(request, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Changes the membership if the configuration is still at `expected_index`.
    pub async fn change(&mut self, expected_index: u64, change: &MembershipChange) -> Result<(), Error> {
        let change = match change {
            MembershipChange::AddLearner(member) => change_membership_request::Change::AddLearner(to_member(member)),
            MembershipChange::Promote(id) => change_membership_request::Change::Promote(id.0),
            MembershipChange::Remove(id) => change_membership_request::Change::Remove(id.0),
        };
        let request = proto::ChangeMembershipRequest { expected_index, change: Some(change) };
        self.client.change_membership(timed(request, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Hands leadership to a member.
    pub async fn hand_over(&mut self, to: Id) -> Result<(), Error> {
        self.client.hand_over(timed(proto::HandOverRequest { member_id: to.0 }, CHANGE_TIMEOUT)).await?;
        Ok(())
    }

    /// Asks clients to go to other members, or no longer.
    pub async fn drain(&mut self, draining: bool) -> Result<(), Error> {
        self.client.drain(timed(proto::DrainRequest { draining }, CALL_TIMEOUT)).await?;
        Ok(())
    }

    /// Sets the raft timers.
    pub async fn set_timers(&mut self, generation: u64, timers: Timers) -> Result<(), Error> {
        let timers = proto::Timers {
            heartbeat_milliseconds: timers.heartbeat_milliseconds,
            election_milliseconds: timers.election_milliseconds,
        };
        self.client
            .set_timers(timed(proto::SetTimersRequest { generation, timers: Some(timers) }, CALL_TIMEOUT))
            .await?;
        Ok(())
    }

    /// Sets the limits.
    pub async fn set_limits(&mut self, generation: u64, limits: Limits) -> Result<(), Error> {
        let limits = proto::Limits {
            quota_bytes: limits.quota_bytes,
            request_bytes_max: limits.request_bytes_max,
            txn_ops_max: limits.txn_ops_max,
        };
        self.client
            .set_limits(timed(proto::SetLimitsRequest { generation, limits: Some(limits) }, CALL_TIMEOUT))
            .await?;
        Ok(())
    }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn id(number: u64) -> Option<Id> {
    (number != 0).then_some(Id(number))
}

fn member_state(mut state: proto::MemberStateResponse) -> MemberState {
    let applied = state.configuration.take().map(configuration);
    let raised = |kind: &str| -> Vec<Id> {
        state.alarms.iter().filter(|alarm| alarm.r#type == kind).map(|alarm| Id(alarm.member_id)).collect()
    };
    let (corrupt, no_space) = (raised("CORRUPT"), raised("NOSPACE"));
    let timers = state.timers.unwrap_or_default();
    let limits = state.limits.unwrap_or_default();
    MemberState {
        phase: phase(state.phase()),
        role: role(state.role()),
        cluster_id: id(state.cluster_id),
        member_id: id(state.member_id),
        name: state.member_name.clone(),
        disk_id: state.disk_id.clone(),
        owner_uid: state.owner_uid.clone(),
        leader_id: id(state.leader_id),
        committed_index: state.committed_index,
        applied_index: state.applied_index,
        lag_entries: state.lag_entries,
        db_size_bytes: state.db_size_bytes,
        db_in_use_bytes: state.db_size_in_use_bytes,
        version: state.version.clone(),
        feature_level: state.feature_level,
        draining: state.draining,
        client_connections: state.client_connections,
        timers: Timers {
            heartbeat_milliseconds: timers.heartbeat_milliseconds,
            election_milliseconds: timers.election_milliseconds,
        },
        timers_generation: state.timers_generation,
        limits: Limits {
            quota_bytes: limits.quota_bytes,
            request_bytes_max: limits.request_bytes_max,
            txn_ops_max: limits.txn_ops_max,
        },
        bundles: Bundles { peers: state.peer_ca_sha256.clone(), clients: state.client_ca_sha256.clone() },
        corrupt,
        no_space,
        refusal: state.refusal.clone(),
        progress: state
            .progress
            .iter()
            .map(|progress| Progress {
                member_id: Id(progress.member_id),
                match_index: progress.match_index,
                recently_active: progress.recently_active,
                round_trip_microseconds: progress.round_trip_microseconds,
            })
            .collect(),
        configuration: applied,
    }
}

fn phase(phase: proto::Phase) -> MemberPhase {
    match phase {
        // A phase from the future is treated as one that is not over yet: nothing is decided from it.
        proto::Phase::Unspecified | proto::Phase::Starting => MemberPhase::Starting,
        proto::Phase::AwaitingAdmission => MemberPhase::AwaitingAdmission,
        proto::Phase::AwaitingAdoption => MemberPhase::AwaitingAdoption,
        proto::Phase::Running => MemberPhase::Running,
        proto::Phase::Removed => MemberPhase::Removed,
        proto::Phase::Refused => MemberPhase::Refused,
        proto::Phase::Fenced => MemberPhase::Fenced,
    }
}

fn role(role: proto::Role) -> Role {
    match role {
        proto::Role::Unspecified => Role::Unknown,
        proto::Role::Follower => Role::Follower,
        proto::Role::Candidate => Role::Candidate,
        proto::Role::Leader => Role::Leader,
        proto::Role::Learner => Role::Learner,
    }
}

fn configuration(configuration: proto::Configuration) -> Configuration {
    Configuration {
        cluster_id: Id(configuration.cluster_id),
        index: configuration.index,
        members: configuration
            .members
            .into_iter()
            .map(|member| ConfiguredMember {
                id: Id(member.id),
                name: member.name,
                learner: member.learner,
                disk_id: member.disk_id,
                peer_urls: member.peer_urls,
                client_urls: member.client_urls,
            })
            .collect(),
    }
}

fn to_configuration(configuration: &Configuration) -> proto::Configuration {
    proto::Configuration {
        cluster_id: configuration.cluster_id.0,
        index: configuration.index,
        members: configuration.members.iter().map(to_member).collect(),
        ..Default::default()
    }
}

fn to_member(member: &ConfiguredMember) -> proto::Member {
    proto::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
        disk_id: member.disk_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture;
    use crate::tls;

    #[tokio::test]
    async fn a_member_whose_process_stands_still_is_given_up() {
        // The kernel accepts for it; nobody else uses this address of the loopback.
        let address = "127.23.82.1";
        let _frozen = std::net::TcpListener::bind((address, PORT)).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let admin = tls::authority(&fixture::desired(1), tls::Plane::Admin, now).unwrap();
        let client = tls::operator_client(&admin, now).unwrap();
        let access = Access::Tls { authority: admin.certificate, client };
        let limit = Duration::from_millis(50);
        let connecting = Member::connect_within(limit, address, "member", &access);
        let answer = tokio::time::timeout(100 * limit, connecting).await.expect("it waits for ever");
        assert!(matches!(answer, Err(Error::Connect(_))));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_named_and_none_is_named_twice() {
        let layers = ["transport error", "tcp connect error", "tcp connect error: too late", "too late", "why"];
        let chain = layers.into_iter().rev().fold(None, |source, text| Some(Box::new(Layer { text, source })));
        let said = super::chain(&*chain.unwrap());
        assert_eq!(said, "transport error: tcp connect error: too late: why");
    }
}
