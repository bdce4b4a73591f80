//! The members of a run, their network and their disks, and what one waits for of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_api::etcdserverpb::{
    AlarmRequest, HashKvRequest, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    RangeRequest, StatusRequest, StatusResponse,
};

use super::Error;
use super::endpoints::{Endpoints, client_url, peer_url};
use super::member::{Member, Settings};
use super::plan::Plan;
use super::slow_disk::SlowDisk;
use super::switch::{Link, Switch, address};
use super::tls::Tls;
use crate::crash::disk::{Disk, run};
use crate::crash::namespace::Namespace;
use crate::crash::workspace::Workspace;
use crate::history::Violation;

/// Every member must answer a linearizable read so long after the last fault, on a machine that does other things too. An
/// election takes one or two seconds, a snapshot and the replay of a log some more.
pub const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// For one call of the harness.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// What is between the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace for each member, and a switch that can lose and delay packets; a disk for each.
    Switched,
    /// All in the namespace of the clients, without a switch that would cost processor time; a folder of the machine's disk for each.
    Shared,
    /// The same, with a disk for each that can stall and be slow.
    SharedWithDisks,
}

/// A running cluster. Members go first, then the network, then the folder.
pub struct Cluster {
    pub members: Vec<Member>,
    /// None where the network is shared.
    pub switch: Option<Switch>,
    pub endpoints: Endpoints,
    _clients: Namespace,
    tls: bool,
    workspace: Workspace,
}

impl Cluster {
    /// Makes namespaces, network, disks and certificates, and starts every member; none is waited for. It is called on a runtime
    /// whose threads are in `clients`.
    /// `more` are flags of every member.
    pub fn start(plan: &Plan, clients: Namespace, network: Network, more: &[String]) -> Result<Cluster, Error> {
        let workspace = Workspace::create()?;
        let tls = if plan.tls { Some(Tls::make(workspace.path().join("pki"), plan.members)?) } else { None };
        let initial: Vec<String> =
            (0..plan.members).map(|place| format!("m{}={}", place + 1, peer_url(place, plan.tls))).collect();
        let tag = workspace.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut members = Vec::new();
        let mut holders = Vec::new();
        for place in 0..plan.members {
            let name = format!("m{}", place + 1);
            let namespace = Arc::new(match network {
                Network::Switched => Namespace::create_with_network()?,
                Network::Shared | Network::SharedWithDisks => Namespace::create()?,
            });
            holders.push(namespace.holder());
            let folder = workspace.path().join(&name);
            let disk = match network {
                Network::Switched | Network::SharedWithDisks => Disk::ext4(folder, Arc::clone(&namespace))?,
                Network::Shared => Disk::folder(folder)?,
            };
            let mut flags = vec![
                format!("--initial-cluster={}", initial.join(",")),
                format!("--initial-cluster-token=chaos-{:x}", plan.seed),
                format!("--listen-client-urls={}", client_url(place, plan.tls)),
                format!("--advertise-client-urls={}", client_url(place, plan.tls)),
                format!("--listen-peer-urls={}", peer_url(place, plan.tls)),
                format!("--initial-advertise-peer-urls={}", peer_url(place, plan.tls)),
            ];
            if network == Network::Switched {
                // Few, so that a member that was away needs a snapshot now and then.
                flags.push("--snapshot-catchup-entries=50".to_owned());
                flags.push("--wal-keep-bytes=1".to_owned());
            }
            flags.extend_from_slice(more);
            flags.extend(tls.iter().flat_map(|tls| tls.flags(&name)));
            let log = workspace.path().join(format!("{name}.log"));
            let group = if SlowDisk::supported() { Some(SlowDisk::create(&tag, &name)?) } else { None };
            members.push(Member::new(Settings { name, flags }, disk, namespace, log, group));
        }
        holders.push(clients.holder());
        let switch = match network {
            Network::Switched => Some(Switch::start(&holders, plan.seed)?),
            Network::Shared | Network::SharedWithDisks => {
                for place in 0..plan.members {
                    let own = format!("{}/32", address(place));
                    run(clients.command("ip").args(["addr", "add", &own, "dev", "lo"]))?;
                }
                None
            }
        };
        for member in &mut members {
            member.start()?;
        }
        let endpoints = Endpoints::new(plan.members, tls.as_ref().map(|tls| &tls.clients))?;
        Ok(Cluster { members, switch, endpoints, _clients: clients, tls: plan.tls, workspace })
    }

    /// Changes every direction between two members; what there is between members and clients stays whole when `cuts`. The
    /// clients' node has the number after the last member.
    pub fn change_links(&self, cuts: bool, mut change: impl FnMut(usize, usize, &mut Link)) {
        let clients = self.members.len();
        if let Some(switch) = &self.switch {
            switch.change(|from, to, link| {
                if !cuts || (from != clients && to != clients) {
                    change(from, to, link);
                }
            });
        }
    }

    pub fn mend_links(&self) {
        self.change_links(false, |_, _, link| *link = Link::default());
    }

    /// Whether the kernel has what limits the speed of a disk.
    pub fn can_slow_disks(&self) -> bool {
        SlowDisk::supported()
    }

    pub fn folder(&self) -> PathBuf {
        self.workspace.path().to_owned()
    }

    /// Copies the members' logs to a folder that outlives the run, and names it.
    pub fn keep_logs(&self) -> Result<PathBuf, Error> {
        let run = self.workspace.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = env::temp_dir().join(format!("logs-of-{run}"));
        fs::create_dir_all(&folder).map_err(crate::crash::Error::io("create", &folder))?;
        for member in &self.members {
            let kept = folder.join(member.name()).with_extension("log");
            fs::copy(member.log(), &kept).map_err(crate::crash::Error::io("copy the log to", &kept))?;
        }
        Ok(folder)
    }

    /// Waits until every member answers a linearizable read of its own and no alarm is left; how long it took.
    pub async fn all_back(&mut self) -> Result<Duration, Violation> {
        let started = Instant::now();
        for place in 0..self.members.len() {
            self.back(place, started).await?;
        }
        self.without_alarm(started).await?;
        Ok(started.elapsed())
    }

    /// An alarm that a full disk has raised goes when there is room again. The members are asked in turn, as it is the cluster's: while a
    /// third of all packets is lost, the connection to one of them may take longer than all have.
    async fn without_alarm(&self, started: Instant) -> Result<(), Violation> {
        let mut last = "nothing was asked".to_owned();
        for place in (0..self.members.len()).cycle().take_while(|_| started.elapsed() < BACK_WITHIN) {
            let mut client = self.endpoints.maintenance(place);
            let alarms = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
            match within(client.alarm(alarms)).await {
                Ok(answer) if answer.alarms.is_empty() => return Ok(()),
                Ok(answer) => last = format!("{:?}", answer.alarms),
                Err(why) => last = why,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let reason = format!("an alarm stays for {BACK_WITHIN:?}: {last};\n{}", self.stands().await);
        Err(Violation::NotBack { member: "the cluster".to_owned(), reason })
    }

    async fn back(&mut self, place: usize, started: Instant) -> Result<(), Violation> {
        let mut last = "nothing was asked".to_owned();
        while started.elapsed() < BACK_WITHIN {
            self.alive(place)?;
            match read(&self.endpoints, place, false).await {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let member = &self.members[place];
        let stands = self.stands().await;
        let reason = format!("no linearizable read within {BACK_WITHIN:?} ({last});\n{stands}{}", log_end(member));
        Err(Violation::NotBack { member: member.name().to_owned(), reason })
    }

    /// Where each member says that it stands, a line each: which one hangs shows here, or that only the way to it did. They are asked
    /// through new connections, because one that hangs looks like a member that does.
    async fn stands(&self) -> String {
        let anew = match self.endpoints.anew() {
            Ok(anew) => anew,
            Err(error) => return format!("no new connections: {error}\n"),
        };
        let mut text = String::new();
        for (place, member) in self.members.iter().enumerate() {
            let asked = within(anew.maintenance(place).status(StatusRequest {})).await;
            let stands = asked.map(|status| {
                let StatusResponse { leader, raft_term, raft_index, raft_applied_index, errors, .. } = status;
                let id = status.header.map_or(0, |header| header.member_id);
                format!(
                    "{id:x} follows {leader:x} in term {raft_term}, committed {raft_index}, applied {raft_applied_index}, {errors:?}"
                )
            });
            let outcome = |read: Result<(), String>| read.err().unwrap_or_else(|| "answered".to_owned());
            let serializable = outcome(read(&anew, place, true).await);
            let linearizable = outcome(read(&anew, place, false).await);
            text += &format!(
                "{} by a new connection: {}; serializable read: {serializable}; linearizable read: {linearizable}\n",
                member.name(),
                stands.unwrap_or_else(|why| why),
            );
        }
        text
    }

    /// No process may have ended by itself.
    pub fn alive(&mut self, place: usize) -> Result<(), Violation> {
        let member = &mut self.members[place];
        let Some(status) = member.ended() else { return Ok(()) };
        let reason = format!("the process ended by itself with {status}; {}", log_end(member));
        Err(Violation::NotBack { member: member.name().to_owned(), reason })
    }

    /// Removes a member, wipes its disk, adds it as a learner and promotes it when it has caught up, which may take `limit`.
    pub async fn replace(&mut self, place: usize, limit: Duration) -> Result<(), Error> {
        let url = peer_url(place, self.tls);
        let helper = (place + 1) % self.members.len();
        let list = self.retry("listing the members", |cluster| {
            let mut client = cluster.endpoints.cluster(helper);
            async move { within(client.member_list(MemberListRequest { linearizable: true })).await }
        });
        let id =
            list.await?.members.into_iter().find(|member| member.peer_ur_ls.contains(&url)).map(|member| member.id);
        if let Some(id) = id {
            self.retry("the removal of a member", |cluster| {
                let mut client = cluster.endpoints.cluster(helper);
                async move { gone(within(client.member_remove(MemberRemoveRequest { id })).await) }
            })
            .await?;
        }
        self.members[place].kill();
        self.members[place].wipe()?;
        let added = self.retry("the addition of a learner", |cluster| {
            let mut client = cluster.endpoints.cluster(helper);
            let url = url.clone();
            async move {
                // The outcome of an earlier try may have been unknown.
                let list = within(client.member_list(MemberListRequest { linearizable: true })).await?;
                if let Some(member) = list.members.iter().find(|member| member.peer_ur_ls.contains(&url)) {
                    return Ok(member.id);
                }
                let request = MemberAddRequest { peer_ur_ls: vec![url], is_learner: true };
                within(client.member_add(request)).await.map(|added| added.member.unwrap_or_default().id)
            }
        });
        let id = added.await?;
        self.members[place].start()?;
        self.retry_for(limit, "the promotion of a learner", |cluster| {
            let mut client = cluster.endpoints.cluster(helper);
            async move { promoted(within(client.member_promote(MemberPromoteRequest { id })).await) }
        })
        .await
    }

    /// Asks again until it is done, for at most `BACK_WITHIN`.
    async fn retry<T, F>(&self, what: &str, ask: impl Fn(&Cluster) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, String>>,
    {
        self.retry_for(BACK_WITHIN, what, ask).await
    }

    async fn retry_for<T, F>(&self, limit: Duration, what: &str, ask: impl Fn(&Cluster) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, String>>,
    {
        let started = Instant::now();
        loop {
            match ask(self).await {
                Ok(done) => return Ok(done),
                Err(why) if started.elapsed() > limit => {
                    return Err(self.late(format!("{what} ({why})"), limit));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The harness gives up: this did not come in time.
    pub(super) fn late(&self, what: impl fmt::Display, waited: Duration) -> Error {
        let logs = self.keep_logs().unwrap_or_else(|_| self.folder());
        Error::Late { what: what.to_string(), waited, logs: logs.display().to_string() }
    }

    /// The place of the member that says that it leads.
    pub async fn leader(&self) -> Option<usize> {
        for place in 0..self.members.len() {
            let status = within(self.endpoints.maintenance(place).status(StatusRequest {})).await;
            if status.is_ok_and(|status| status.leader == status.header.map_or(0, |header| header.member_id)) {
                return Some(place);
            }
        }
        None
    }

    /// The place of the member that `member` says leads; none if it does not answer or knows none.
    pub async fn leads(&self, member: usize) -> Option<usize> {
        let status = within(self.endpoints.maintenance(member).status(StatusRequest {})).await.ok()?;
        let mut client = self.endpoints.cluster(member);
        let list = within(client.member_list(MemberListRequest { linearizable: false })).await.ok()?;
        let leader = list.members.into_iter().find(|member| member.id == status.leader)?;
        (0..self.members.len()).find(|place| leader.peer_ur_ls.contains(&peer_url(*place, self.tls)))
    }

    /// HashKV of every member at one revision.
    pub async fn hashes(&self, revision: i64) -> Result<Vec<(String, u32, i64)>, Error> {
        let mut hashes = Vec::new();
        for (place, member) in self.members.iter().enumerate() {
            let hash = self.retry("HashKV", |cluster| {
                let mut client = cluster.endpoints.maintenance(place);
                async move { within(client.hash_kv(HashKvRequest { revision })).await }
            });
            let hash = hash.await?;
            hashes.push((member.name().to_owned(), hash.hash, hash.compact_revision));
        }
        Ok(hashes)
    }

    /// Whether there is no key from `from` to below `end`.
    pub async fn is_empty(&self, from: &'static str, end: &'static str) -> Result<bool, Error> {
        self.retry("a count of keys", |cluster| {
            let mut kv = cluster.endpoints.kv(0);
            let request =
                RangeRequest { key: from.into(), range_end: end.into(), count_only: true, ..RangeRequest::default() };
            async move { within(kv.range(request)).await }
        })
        .await
        .map(|range| range.count == 0)
    }

    /// The newest revision, by a linearizable read.
    pub async fn revision(&self) -> Result<i64, Error> {
        self.retry("a read of the newest revision", |cluster| {
            let mut kv = cluster.endpoints.kv(0);
            async move { within(kv.range(RangeRequest { key: "back".into(), ..Default::default() })).await }
        })
        .await
        .map(|range| range.header.unwrap_or_default().revision)
    }
}

fn log_end(member: &Member) -> String {
    format!("the end of its log:\n{}", member.log_tail())
}

/// A member that is not there any more has been removed by a try whose answer was lost.
fn gone<T>(answer: Result<T, String>) -> Result<(), String> {
    match answer {
        Err(why) if why.ends_with("member not found") => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// So has one that is not a learner any more.
fn promoted<T>(answer: Result<T, String>) -> Result<(), String> {
    match answer {
        Err(why) if why.ends_with("can only promote a learner member") => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// Whether a member answers a read.
async fn read(endpoints: &Endpoints, place: usize, serializable: bool) -> Result<(), String> {
    let request = RangeRequest { key: "back".into(), serializable, ..Default::default() };
    within(endpoints.kv(place).range(request)).await.map(|_| ())
}

async fn within<T>(call: impl Future<Output = tonic::Result<tonic::Response<T>>>) -> Result<T, String> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(format!("{:?}: {}", status.code(), status.message())),
        Err(_) => Err(format!("no answer within {CALL_TIMEOUT:?}")),
    }
}
