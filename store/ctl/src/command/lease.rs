//! `lease grant|revoke|timetolive|list|keep-alive`.

use std::time::Duration;

use bytes::Bytes;
use quorate_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Context, connect, text, write};
use crate::Error;
use crate::client::{Client, repeat_read};
use crate::flags::{Flag, Kind, flag};
use crate::go::number;
use crate::render::lease::{KeptAlive, Revoked};

const KEYS: Flag = flag("keys", Kind::Bool(false), "name the keys that are attached to the lease");
const ONCE: Flag = flag("once", Kind::Bool(false), "renew the lease once and exit");

pub const TIME_TO_LIVE: &[Flag] = &[KEYS];
pub const KEEP_ALIVE: &[Flag] = &[ONCE];

/// How long a lease that was never renewed here is tried for; etcd's client takes the same.
const FIRST_RENEWAL_MAX: Duration = Duration::from_secs(5);
/// Pause before a broken stream of renewals is opened anew.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

pub async fn grant(context: &Context) -> Result<(), Error> {
    let [ttl] = context.args() else { return Err(Error::Arguments("lease grant command needs TTL argument")) };
    let ttl = number::parse_int(&text(ttl), 10).map_err(Error::BadTtl)?;
    context.settings.format.refuse_table()?;
    let response = context
        .call(async |client| client.lease().lease_grant(LeaseGrantRequest { ttl, id: 0 }).await)
        .await
        .map_err(|source| Error::Lease { what: "grant", source: source.into() })?;
    context.print(response.get_ref())
}

pub async fn revoke(context: &Context) -> Result<(), Error> {
    let [id] = context.args() else { return Err(Error::Arguments("lease revoke command needs 1 argument")) };
    let id = parse_id(id)?;
    context.settings.format.refuse_table()?;
    let response = context
        .call(async |client| client.lease().lease_revoke(LeaseRevokeRequest { id }).await)
        .await
        .map_err(|source| Error::Lease { what: "revoke", source: source.into() })?;
    context.print(&Revoked { id, response: response.into_inner() })
}

pub async fn time_to_live(context: &Context) -> Result<(), Error> {
    let [id] = context.args() else {
        return Err(Error::Arguments("lease timetolive command needs lease ID as argument"));
    };
    let request = LeaseTimeToLiveRequest { id: parse_id(id)?, keys: context.parsed.bool(&KEYS) };
    context.settings.format.refuse_table()?;
    let response = context
        .call(async |client| repeat_read(async || client.lease().lease_time_to_live(request).await).await)
        .await?;
    context.print(response.get_ref())
}

pub async fn list(context: &Context) -> Result<(), Error> {
    context.settings.format.refuse_table()?;
    let response = context
        .call(async |client| repeat_read(async || client.lease().lease_leases(LeaseLeasesRequest {}).await).await)
        .await?;
    context.print(response.get_ref())
}

pub async fn keep_alive(context: &Context) -> Result<(), Error> {
    let [id] = context.args() else {
        return Err(Error::Arguments("lease keep-alive command needs lease ID as argument"));
    };
    let id = parse_id(id)?;
    context.settings.format.refuse_table()?;
    if context.parsed.bool(&ONCE) {
        let response = context.call(async |client| renew(&client, id).await).await?;
        return if response.ttl > 0 { context.print(&KeptAlive(response)) } else { Err(Error::LeaseNotKept) };
    }
    tokio::select! {
        done = renew_for_ever(context, id) => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

async fn renew(client: &Client, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
    let mut responses = client.lease().lease_keep_alive(requests).await?.into_inner();
    responses.message().await?.ok_or_else(|| Status::unavailable("the server ended the stream without an answer"))
}

/// Renews until the lease is gone: refused by the server, or expired while no member could be reached.
async fn renew_for_ever(context: &Context, id: i64) -> Result<(), Error> {
    let client = connect(&context.settings.client, Instant::now() + context.settings.command_timeout).await?;
    let mut expires = Instant::now() + FIRST_RENEWAL_MAX;
    // The bound of this loop is `expires`, which only a renewal moves.
    while Instant::now() < expires {
        match renew_on_one_stream(context, &client, id, &mut expires).await {
            Ok(()) => break,
            Err(Error::Rpc(_)) => tokio::time::sleep(REOPEN_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Ok(write(format!("lease {id:016x} expired or revoked.\n").as_bytes())?)
}

/// Renews at every third of the TTL until the server says that the lease is gone; an error of the stream may pass.
async fn renew_on_one_stream(context: &Context, client: &Client, id: i64, expires: &mut Instant) -> Result<(), Error> {
    let ended = || Status::unavailable("the stream of renewals ended");
    let late = |_| Status::deadline_exceeded("no renewal before the lease expired");
    // The server answers a stream's opening only together with its first renewal, so that must be on its way before.
    let (requests, queue) = mpsc::channel(1);
    requests.send(LeaseKeepAliveRequest { id }).await.map_err(|_| ended())?;
    let mut lease = client.lease();
    let opening = lease.lease_keep_alive(ReceiverStream::new(queue));
    let mut responses = timeout_at(*expires, opening).await.map_err(late)??.into_inner();
    loop {
        let response = timeout_at(*expires, responses.message()).await.map_err(late)??;
        let response = response.ok_or_else(ended)?;
        let Ok(ttl @ 1..) = u64::try_from(response.ttl) else { return Ok(()) };
        context.print(&KeptAlive(response))?;
        *expires = Instant::now() + Duration::from_secs(ttl);
        tokio::time::sleep(Duration::from_secs(ttl) / 3).await;
        requests.send(LeaseKeepAliveRequest { id }).await.map_err(|_| ended())?;
    }
}

fn parse_id(arg: &Bytes) -> Result<i64, Error> {
    number::parse_int(&text(arg), 16).map_err(|source| Error::BadId { what: "lease ID arg", source })
}
