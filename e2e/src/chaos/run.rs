//! One run: a cluster, load on it, faults until the time is over, the way back, and the judgement of all that was seen.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use quorate_api::etcdserverpb::{CompactionRequest, DefragmentRequest};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinHandle;

use super::Error;
use super::board::Board;
use super::cluster::{Cluster, Network};
use super::endpoints::{Endpoints, REQUEST_TIMEOUT};
use super::keeper::{Keepers, Kept};
use super::load::Load;
use super::nemesis::Tally;
use super::plan::{Draws, Plan, Step};
use super::recorder::Recorder;
use super::report::Report;
use super::watchers::Watchers;
use crate::crash::namespace::Namespace;
use crate::history::{Observed, Truth, Violation, check, leases};

/// A lease that nobody renews goes at most so long after its TTL, once all members serve: a leader change gives every lease
/// its TTL anew, and the last one may have been just now.
const EXPIRY_SLACK: Duration = Duration::from_secs(12);

/// Longest time to live of a lease of the load.
const TTL_MAX: Duration = Duration::from_secs(9);

/// A compaction leaves at least so many revisions of the recorded history.
const KEPT_REVISIONS: i64 = 400;

/// Between two compactions at most.
const COMPACT_MS_MAX: u64 = 4_000;

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What goes on while faults strike.
struct Activity {
    board: Board,
    load: Load,
    keepers: Keepers,
    watchers: Watchers,
    recorder: Recorder,
    upkeep: JoinHandle<()>,
}

/// Runs a plan in a thread of its own, which is where the clients' network is. `progress` gets a line for every step.
pub fn run(plan: Plan, progress: impl Fn(String) + Send + Sync + 'static) -> Result<Report, Error> {
    if ![3, 5].contains(&plan.members) {
        return Err(Error::Members(plan.members));
    }
    if plan.kinds.is_empty() {
        return Err(Error::NoFaults);
    }
    in_clients_network(move |clients| async move {
        let cluster = Cluster::start(&plan, clients, Network::Switched, &[])?;
        run_inside(plan, cluster, &progress).await
    })
}

/// Runs `work` on a runtime of its own, all of whose threads are in a new network namespace, which it is given.
pub(super) fn in_clients_network<T, F>(work: impl FnOnce(Namespace) -> F + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>>,
{
    let thread = std::thread::Builder::new().name("chaos".into()).spawn(move || {
        let clients = Namespace::create_with_network()?;
        let path = format!("/proc/{}/ns/net", clients.holder());
        let namespace = File::open(&path).map_err(crate::crash::Error::io("open", &path))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|source| Error::System { call: "setns", source })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(crate::crash::Error::io("start the runtime of", "the clients"))?;
        let done = runtime.block_on(work(clients));
        // Streams of watches that nobody reads any more are not waited for.
        runtime.shutdown_background();
        done
    });
    let thread = thread.map_err(crate::crash::Error::io("start the thread of", "the clients"))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn run_inside(
    plan: Plan,
    mut cluster: Cluster,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<Report, Error> {
    let mut report = Report::new(plan);
    if let Err(violation) = cluster.all_back().await {
        report.violations.push(violation);
        return Ok(report);
    }
    // The founding is old when the first power cut comes.
    for member in &cluster.members {
        member.disk().settle()?;
    }
    let activity = Activity::start(&cluster.endpoints, report.plan.seed);
    let started = Instant::now();
    if let Err(violation) = strike(&mut cluster, &activity.board, &mut report, progress).await? {
        report.violations.push(violation);
    }
    report.struck_for = started.elapsed();
    if !report.violations.is_empty() {
        // What was seen until then is judged all the same, if the members that are left can be brought to serve.
        let _ = cluster.start_all()?;
    }
    // Load goes on until all are back: the cluster serves again, and not only its harness.
    let back = cluster.all_back().await;
    activity.board.stop();
    let judged = back.is_ok();
    match back {
        Ok(took) => report.recovered(took),
        Err(violation) => report.violations.push(violation),
    }
    judge(&cluster, activity, &mut report, judged).await?;
    if !report.violations.is_empty() {
        report.logs = Some(cluster.keep_logs()?);
    }
    Ok(report)
}

/// Faults, one step after the other, until the time is over or something is wrong.
async fn strike(
    cluster: &mut Cluster,
    board: &Board,
    report: &mut Report,
    progress: &(impl Fn(String) + Send + Sync),
) -> Result<Result<(), Violation>, Error> {
    let mut draws = Draws::new(&report.plan, ChaCha8Rng::seed_from_u64(report.plan.seed));
    while board.now() < report.plan.duration {
        let step = draws.step();
        progress(format!("{:7.2} s  {}", board.now().as_secs_f64(), step));
        if let Err(violation) = perform(cluster, &step, &mut report.faults).await? {
            return Ok(Err(violation));
        }
        if step.then_all_back {
            match cluster.all_back().await {
                Ok(took) => report.recovered(took),
                violation => return Ok(violation.map(|_| ())),
            }
        }
        tokio::time::sleep(step.quiet).await;
    }
    Ok(Ok(()))
}

async fn perform(cluster: &mut Cluster, step: &Step, tally: &mut Tally) -> Result<Result<(), Violation>, Error> {
    let mut wrong = None;
    let mut struck = Vec::new();
    for fault in &step.faults {
        struck.push(fault);
        wrong = cluster.strike(fault).await?.err();
        *tally.entry(fault.kind()).or_default() += 1;
        if wrong.is_some() {
            break;
        }
    }
    if wrong.is_none() {
        tokio::time::sleep(step.hold).await;
    }
    for fault in struck.into_iter().rev() {
        let healed = cluster.heal(fault).await?;
        wrong = wrong.or(healed.err());
    }
    Ok(wrong.map_or(Ok(()), Err))
}

impl Activity {
    fn start(endpoints: &Endpoints, seed: u64) -> Activity {
        let board = Board::new();
        Activity {
            load: Load::start(endpoints, &board, seed),
            keepers: Keepers::start(endpoints, &board, seed),
            watchers: Watchers::start(endpoints, &board, seed),
            recorder: Recorder::start(endpoints, &board, seed),
            upkeep: tokio::spawn(upkeep(endpoints.clone(), board.clone(), seed)),
            board,
        }
    }
}

/// Compacts what is recorded and defragments members, now and then.
async fn upkeep(endpoints: Endpoints, board: Board, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc0_4ac7);
    loop {
        let pause = Duration::from_millis(rng.random_range(0..COMPACT_MS_MAX));
        tokio::select! {
            () = board.stopped() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let member = rng.random_range(0..endpoints.len());
        if rng.random_ratio(1, 4) {
            let mut client = endpoints.maintenance(member);
            // Its member may be killed in the middle, which is what it is for.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, client.defragment(DefragmentRequest {})).await;
            continue;
        }
        let revision = board.recorded() - KEPT_REVISIONS - rng.random_range(0..KEPT_REVISIONS);
        if revision > board.compacted() {
            board.compact(revision);
            let request = CompactionRequest { revision, physical: rng.random_ratio(1, 4) };
            // Done or not: readers and watchers take a refusal below it either way.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, endpoints.kv(member).compact(request)).await;
        }
    }
}

/// Collects what everybody saw and judges it by the history. A cluster that is not `back` has no end of its history to compare with.
async fn judge(cluster: &Cluster, activity: Activity, report: &mut Report, back: bool) -> Result<(), Error> {
    let Activity { board, load, keepers, watchers, recorder, upkeep } = activity;
    upkeep.await.expect("the upkeep neither panics nor is aborted");
    let mut operations = load.end().await;
    let Kept { leases: kept, operations: attached, last_asked } = keepers.end().await;
    operations.extend(attached);
    let sessions = watchers.end().await;
    report.count(&operations);
    if !back {
        return Ok(());
    }
    let deadline = Instant::now() + TTL_MAX + EXPIRY_SLACK;
    while !cluster.is_empty("lease/", "lease0").await? && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let revision = cluster.revision().await?;
    let ended = board.now();
    let (truth, mut violations) = Truth::new(recorder.end(revision).await?);
    if truth.last_revision() < revision && violations.is_empty() {
        violations.push(Violation::HistoryBroken { after: truth.last_revision(), revision });
    }
    let observed = Observed { operations, leases: kept, sessions };
    let (judged, found) = check(&truth, &observed);
    violations.extend(found);
    violations.extend(leases::overdue(&truth, &observed.leases, &last_asked, ended, EXPIRY_SLACK));
    let hashes = cluster.hashes(revision).await?;
    if hashes.windows(2).any(|pair| (pair[0].1, pair[0].2) != (pair[1].1, pair[1].2)) {
        violations.push(Violation::HashesDiffer { revision, hashes });
    }
    report.judged = judged;
    report.revisions = revision;
    report.violations.extend(violations);
    Ok(())
}
