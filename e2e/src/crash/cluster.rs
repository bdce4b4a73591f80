//! One or three members on loopback, each with its disk, founded by static flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_api::etcdserverpb::kv_client::KvClient;
use quorate_api::etcdserverpb::{CompactionRequest, HashKvRequest, RangeRequest};
use tonic::transport::Channel;

use super::Error;
use super::checker::Holding;
use super::disk::Disk;
use super::member::{Address, Member, READY_TIMEOUT, Refusal, Settings};
use super::namespace::Namespace;
use super::rounds::{Fault, Plan};
use super::workspace::Workspace;

/// Rows that one answer of a check holds at most.
const PAGE_ROWS: i64 = 2_000;

/// A running cluster. The members go before the folder that they live in.
pub struct Cluster {
    pub members: Vec<Member>,
    _workspace: Workspace,
}

impl Cluster {
    /// Makes disks and starts every member; none is waited for.
    pub fn start(plan: &Plan) -> Result<Cluster, Error> {
        let workspace = Workspace::create()?;
        let addresses = (1..=plan.members)
            .map(|number| Address::take(format!("m{number}"), workspace.host()))
            .collect::<Result<Vec<_>, _>>()?;
        let initial: Vec<String> =
            addresses.iter().map(|address| format!("{}={}", address.name, address.peer_url)).collect();
        let settings =
            Settings { initial_cluster: initial.join(","), token: format!("crash-{:x}", plan.seed), fsync: plan.fsync };
        let namespace = match plan.fault {
            Fault::Kill => None,
            Fault::PowerCut | Fault::ReadOnly => Some(Arc::new(Namespace::create()?)),
        };
        let mut members = Vec::new();
        for address in addresses {
            let place = workspace.path().join(&address.name);
            let log = workspace.path().join(format!("{}.log", address.name));
            let disk = match &namespace {
                None => Disk::folder(place)?,
                Some(namespace) => Disk::ext4(place, Arc::clone(namespace))?,
            };
            members.push(Member::new(address, disk, settings.clone(), log));
        }
        for member in &mut members {
            member.start()?;
        }
        Ok(Cluster { members, _workspace: workspace })
    }

    pub fn clients(&self) -> Vec<KvClient<Channel>> {
        self.members.iter().map(Member::kv).collect()
    }

    /// Waits until every member answers linearizable reads.
    pub async fn ready(&mut self) -> Result<(), Refusal> {
        for member in &mut self.members {
            member.ready().await?;
        }
        Ok(())
    }

    /// Compacts half of the history, so that its space is being given back while members crash.
    pub async fn compact(&self) -> Result<(), Error> {
        let member = &self.members[0];
        let newest = member.range(RangeRequest { key: "ready".into(), ..Default::default() }).await?;
        let revision = newest.header.unwrap_or_default().revision / 2;
        match member.kv().compact(CompactionRequest { revision, physical: false }).await {
            Ok(_) => Ok(()),
            // A new cluster has too few revisions to have anything between the last compaction and half of them.
            Err(status) if status.message().contains("has been compacted") => Ok(()),
            Err(status) => Err(Error::Rpc {
                what: "compact",
                member: member.name().to_owned(),
                waited: READY_TIMEOUT,
                source: Box::new(status),
            }),
        }
    }

    /// What every member holds, all at the same revision, which is the newest that any of them knows.
    pub async fn holdings(&self) -> Result<(i64, Vec<Holding>), Error> {
        let mut revision = 0;
        for member in &self.members {
            let response = member.range(RangeRequest { key: "ready".into(), ..Default::default() }).await?;
            revision = revision.max(response.header.unwrap_or_default().revision);
        }
        let mut holdings = Vec::new();
        for member in &self.members {
            holdings.push(holding(member, revision).await?);
        }
        Ok((revision, holdings))
    }
}

async fn holding(member: &Member, revision: i64) -> Result<Holding, Error> {
    let mut rows = BTreeMap::new();
    let mut from = Bytes::from_static(b"\0");
    loop {
        // Linearizable, so that the member has applied what the others had answered; then it knows the revision.
        let request = RangeRequest {
            key: from.clone(),
            range_end: "\0".into(),
            limit: PAGE_ROWS,
            revision,
            ..Default::default()
        };
        let page = member.range(request).await?;
        if let Some(last) = page.kvs.last() {
            from = [&last.key[..], b"\0"].concat().into();
        }
        rows.extend(page.kvs.into_iter().map(|row| (row.key, (row.value, row.mod_revision))));
        if !page.more {
            break;
        }
    }
    let hash = member.maintenance().hash_kv(HashKvRequest { revision }).await.map_err(|status| Error::Rpc {
        what: "HashKV",
        member: member.name().to_owned(),
        waited: READY_TIMEOUT,
        source: Box::new(status),
    })?;
    let hash = hash.into_inner();
    Ok(Holding { member: member.name().to_owned(), rows, hash: (hash.hash, hash.compact_revision) })
}
