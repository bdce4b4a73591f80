//! `endpoint status|health|hashkv`: asks each endpoint by itself.

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_api::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, MemberListRequest, RangeRequest, StatusRequest,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Context;
use crate::Error;
use crate::client::{self, Client, Options};
use crate::flags::{Flag, Kind, flag};
use crate::render::endpoint::{Hash, Hashes, Health, Healths, Statuses};

const CLUSTER: Flag = flag("cluster", Kind::Bool(false), "ask every member of the cluster");
const REV: Flag = flag("rev", Kind::Int, "hash up to this revision (0 = the newest)");

pub const FLAGS: &[Flag] = &[CLUSTER];
pub const HASH_KV: &[Flag] = &[REV];

pub async fn status(context: &Context) -> Result<(), Error> {
    context.settings.format.refuse_protobuf()?;
    let mut statuses = Vec::new();
    let mut failed = false;
    for (endpoint, options) in endpoints(context, &CLUSTER).await? {
        match context.call_with(&options, async |client| client.maintenance().status(StatusRequest {}).await).await {
            Ok(response) => statuses.push((endpoint, response.into_inner())),
            Err(error) => {
                failed = true;
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
            }
        }
    }
    if !statuses.is_empty() {
        context.print(&Statuses(statuses))?;
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}

pub async fn hash_kv(context: &Context) -> Result<(), Error> {
    context.settings.format.refuse_protobuf()?;
    let request = HashKvRequest { revision: context.parsed.int(&REV) };
    let mut hashes = Vec::new();
    let mut failure = None;
    for (endpoint, options) in endpoints(context, &CLUSTER).await? {
        match context.call_with(&options, async |client| client.maintenance().hash_kv(request).await).await {
            Ok(response) => hashes.push(Hash { endpoint, response: response.into_inner() }),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({error})");
                failure = Some(error);
            }
        }
    }
    if !hashes.is_empty() {
        context.print(&Hashes(hashes))?;
    }
    failure.map_or(Ok(()), Err)
}

/// All at once: a dead endpoint must not keep the others waiting. Printed in the order that was asked for.
pub async fn health(context: &Context) -> Result<(), Error> {
    context.settings.format.refuse_protobuf()?;
    let timeout = context.settings.command_timeout;
    let mut checks = JoinSet::new();
    for (position, (endpoint, options)) in endpoints(context, &CLUSTER).await?.into_iter().enumerate() {
        checks.spawn(async move {
            let start = Instant::now();
            let error = check(&options, start + timeout).await.err().map(|error| error.to_string());
            (position, Health { endpoint, took: start.elapsed(), error })
        });
    }
    let mut healths = checks.join_all().await;
    healths.sort_by_key(|(position, _)| *position);
    let healths = Healths(healths.into_iter().map(|(_, health)| health).collect());
    context.print(&healths)?;
    for line in healths.unhealthy_lines(context.settings.format) {
        eprintln!("{line}");
    }
    if healths.0.iter().any(|health| health.error.is_some()) { Err(Error::Unhealthy) } else { Ok(()) }
}

/// Healthy is who answers a linearizable read (or refuses it to this user) and has no alarm.
async fn check(options: &Options, deadline: Instant) -> Result<(), Error> {
    let ask = async {
        let client = Client::connect_until(options, deadline, |_| ()).await?;
        let request = RangeRequest { key: "health".into(), ..RangeRequest::default() };
        if let Err(status) = client.kv().range(request).await
            && status.message() != quorate_api::Error::PermissionDenied.message()
        {
            return Err(Error::Rpc(status));
        }
        let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        let alarms = client.maintenance().alarm(request).await?.into_inner().alarms;
        let active = alarms.iter().map(|alarm| alarm.alarm()).filter(|alarm| *alarm != AlarmType::None);
        let names: String = active.map(|alarm| format!("{} ", alarm.as_str_name())).collect();
        if names.is_empty() { Ok(()) } else { Err(Error::ActiveAlarms(names)) }
    };
    timeout_at(deadline, ask).await.unwrap_or(Err(Error::DeadlineExceeded))
}

/// Each endpoint of `--endpoints` with options that reach only it; with `cluster` the client URLs of every member.
pub async fn endpoints(context: &Context, cluster: &Flag) -> Result<Vec<(String, Options)>, Error> {
    let options = &context.settings.client;
    let names =
        if context.parsed.bool(cluster) { client_urls(context).await? } else { context.settings.endpoints.clone() };
    if names.is_empty() {
        return Err(client::Error::NoEndpoints.into());
    }
    let alone = |name: String| (name.clone(), Options { endpoints: vec![name], ..options.clone() });
    Ok(names.into_iter().map(alone).collect())
}

async fn client_urls(context: &Context) -> Result<Vec<String>, Error> {
    let request = MemberListRequest { linearizable: true };
    let response = context
        .call(async |client| client.cluster().member_list(request).await)
        .await
        .map_err(|error| Error::ClusterEndpoints(error.into()))?;
    let mut urls = Vec::new();
    for url in response.into_inner().members.into_iter().flat_map(|member| member.client_ur_ls) {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Ok(urls)
}
