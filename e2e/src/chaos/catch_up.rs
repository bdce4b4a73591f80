//! Catching up under load: a follower that was away for many revisions, and one that lost its disk and is replaced. Measured are
//! the latencies of puts at the leader before, without it, during and after, the memory of leader and follower, and the time.

mod report;

pub use report::Report;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_api::etcdserverpb::{PutRequest, StatusRequest};
use quorate_harness::Interrupt;
use tokio::task::JoinHandle;

use super::Error;
use super::clients::until_interrupted;
use super::cluster::{Cluster, Network};
use super::endpoints::Endpoints;
use super::memory::{Memory, MemoryWatch};
use super::meter::{Lap, Meter};
use super::plan::Plan;
use super::processors;

/// Clients that write the revisions that the follower misses.
const FILLERS: u64 = 128;

/// Values of these writes. Each is incompressible and written once.
const FILL_VALUE_BYTES: usize = 128;

/// Keys of these writes: most revisions are of a key of its own.
const FILL_KEYS: u64 = 1_000_000;

/// Between two looks at its progress.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A follower that is not back by then never will be.
const BACK_WITHIN: Duration = Duration::from_secs(600);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Revisions that are written while the follower is away.
    pub revisions: u64,
    /// Puts a second of the steady load.
    pub rate: u32,
    /// How long each of the quiet phases is measured, and the one of catching up at least.
    pub phase: Duration,
    pub seed: u64,
    /// Bytes of the log that are kept for a follower that is away; `None` = as many as by default.
    pub wal_keep_bytes: Option<u64>,
    /// How fast members send what another misses; `None` = as by default.
    pub catch_up_bytes_per_second: Option<u64>,
    /// The follower gets a processor of its own, and the others and the load the rest: what it does itself is not measured.
    pub apart: bool,
    /// How often each way back is measured.
    pub rounds: u32,
}

impl Scenario {
    fn flags(&self) -> Vec<String> {
        let flags =
            [("wal-keep-bytes", self.wal_keep_bytes), ("catch-up-bytes-per-second", self.catch_up_bytes_per_second)];
        flags.iter().filter_map(|(name, value)| Some(format!("--{name}={}", (*value)?))).collect()
    }
}

/// One way of coming back.
#[derive(Debug)]
pub struct Return {
    pub how: How,
    pub before: Lap,
    /// Without the follower, and before it comes back: every commit needs the only other member that is left.
    pub without: Lap,
    pub during: Lap,
    pub after: Lap,
    /// From the start of the process until it has applied what the leader had when it asked.
    pub took: Duration,
    /// It came by a snapshot and not by the log.
    pub by_snapshot: bool,
    pub leader_memory: Memory,
    pub follower_memory: Memory,
}

/// Measures both ways of coming back. `progress` gets a line for every phase.
pub fn run(
    scenario: Scenario,
    interrupt: &Interrupt,
    progress: impl Fn(String) + Send + Sync + 'static,
) -> Result<Report, Error> {
    // Before the threads of the load are made: they inherit it.
    let processor = scenario.apart.then(processors::set_one_aside).transpose()?;
    until_interrupted(interrupt, move |clients| async move {
        let plan = Plan { members: 3, duration: Duration::ZERO, seed: scenario.seed, tls: false, kinds: Vec::new() };
        let mut cluster = Cluster::start(&plan, clients, Network::Shared, &scenario.flags())?;
        cluster.all_back().await.map_err(|violation| cluster.late(violation, BACK_WITHIN))?;
        let mut returns = Vec::new();
        let round = [How::Away, How::Replaced];
        for how in (0..scenario.rounds).flat_map(|_| round) {
            let back = measure(&mut cluster, &scenario, how, processor, &progress).await?;
            progress(format!("{} after {:.1} s, p99 {:.2}×", back.how, back.took.as_secs_f64(), back.ratio()));
            returns.push(back);
        }
        Ok(Report { scenario, returns })
    })
}

/// Why a follower has to catch up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was stopped while the revisions were written.
    Away,
    /// It lost its disk.
    Replaced,
}

async fn measure(
    cluster: &mut Cluster,
    scenario: &Scenario,
    how: How,
    processor: Option<usize>,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<Return, Error> {
    let leader = cluster.leader().await.ok_or_else(|| cluster.late("an election", BACK_WITHIN))?;
    let follower = (leader + 1) % cluster.members.len();
    let follower_name = cluster.members[follower].name().to_owned();
    if let Some(processor) = processor {
        cluster.members[follower].set_processor(processor);
        cluster.members[follower].kill();
        cluster.members[follower].start()?;
        caught_up(cluster, leader, follower, Instant::now()).await?;
    }
    let snapshots = installed_snapshots(cluster, follower);
    let meter = Meter::start(&cluster.endpoints, &[leader], scenario.rate, scenario.seed);
    // The first puts make connections and fill caches.
    meter.measure(scenario.phase / 4).await;
    // Quiet, and with every member: two of three are faster than three.
    let before = meter.measure(scenario.phase).await;
    cluster.members[follower].kill();
    if how == How::Away {
        progress(format!("{follower_name} is away; writing {} revisions", scenario.revisions));
        let started = Instant::now();
        fill(&cluster.endpoints, leader, scenario.revisions).await;
        progress(format!("written in {:.1} s", started.elapsed().as_secs_f64()));
        // What the database has to do for these writes is not the way back.
        meter.measure(scenario.phase).await;
    } else {
        progress(format!("{follower_name} has lost its disk"));
    }
    let without = meter.measure(scenario.phase).await;
    let watch = MemoryWatch::start(cluster, leader);
    progress(format!("{follower_name} comes back"));
    let started = Instant::now();
    meter.lap();
    match how {
        How::Away => cluster.members[follower].start()?,
        How::Replaced => cluster.replace(follower, BACK_WITHIN).await?,
    }
    let of_follower = MemoryWatch::start(cluster, follower);
    caught_up(cluster, leader, follower, started).await?;
    let took = started.elapsed();
    let during = meter.lap();
    // What the new database has left to do belongs neither to the way back nor to the time after it.
    tokio::time::sleep(scenario.phase / 4).await;
    let (leader_memory, follower_memory) = (watch.end(), of_follower.end());
    let after = meter.measure(scenario.phase).await;
    drop(meter);
    let by_snapshot = installed_snapshots(cluster, follower) > snapshots;
    Ok(Return { how, before, without, during, after, took, by_snapshot, leader_memory, follower_memory })
}

/// Writes so many revisions as fast as the leader takes them. A put that fails is written again.
async fn fill(endpoints: &Endpoints, leader: usize, revisions: u64) {
    let left = Arc::new(AtomicU64::new(revisions));
    let fillers: Vec<JoinHandle<()>> = (0..FILLERS)
        .map(|_| {
            let (mut client, left) = (endpoints.kv(leader), Arc::clone(&left));
            tokio::spawn(async move {
                loop {
                    let turn = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                    let Ok(turn) = turn else { return };
                    let key = format!("fill/{:08}", turn % FILL_KEYS);
                    let value: Vec<u8> = (0..FILL_VALUE_BYTES).map(|_| rand::random()).collect();
                    let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
                    if client.put(request).await.is_err() {
                        left.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.expect("a filler neither panics nor is aborted");
    }
}

/// Waits until the follower has applied what the leader has applied now.
async fn caught_up(cluster: &mut Cluster, leader: usize, follower: usize, started: Instant) -> Result<(), Error> {
    let applied = |endpoints: Endpoints, member: usize| async move {
        let status = endpoints.maintenance(member).status(StatusRequest {}).await;
        status.ok().map(|status| status.into_inner().raft_applied_index)
    };
    let mut target = None;
    while started.elapsed() < BACK_WITHIN {
        cluster.alive(follower).map_err(|violation| cluster.late(violation, BACK_WITHIN))?;
        if target.is_none() {
            target = applied(cluster.endpoints.clone(), leader).await;
        }
        let reached = applied(cluster.endpoints.clone(), follower).await;
        if let (Some(target), Some(reached)) = (target, reached)
            && reached >= target
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(cluster.late("the catching up of a follower", BACK_WITHIN))
}

/// How often a member's log says that it has installed a snapshot.
fn installed_snapshots(cluster: &Cluster, member: usize) -> usize {
    let log = fs::read_to_string(cluster.members[member].log()).unwrap_or_default();
    log.lines().filter(|line| line.contains("installed a snapshot")).count()
}
